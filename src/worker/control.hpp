// Remote control: a tool writes a request into a roster row, the thread that answers for the row writes the
// reply. One request at a time a row: a later one replaces one that was not answered yet, whose sender then
// gets no reply and says so. A row is used again: the number names the incarnation that was asked, and no
// later one obeys.
//
//   request  63..32 number: 31 set | 30..12 random | 11..0 incarnation asked; 31..8 argument; 7..0 Command
//   reply    63..32 the request's number   | 31..8 value (24)    | 7..0 Answer
#pragma once

#include <cstdint>

#include "engine/engine.hpp"
#include "shm/segment.hpp"

namespace stem::worker {

enum class Command : std::uint8_t {
  kNone = 0,
  kPing,      // value: 1 when paused, plus 2 when it is stopping
  kShutdown,  // argument: StopMode
  kPause,     // takes no more tasks until resumed
  kResume,
  kResize,  // supervisors: argument = worker processes wanted
  kWhere,   // argument: the slot of a task with a coroutine handler; value: io::WaitsFor. By the loop, not the pulse
};

enum class Answer : std::uint8_t { kNone = 0, kDone, kRefused, kLeft };  // kLeft: gone before it answered

struct ControlRequest {
  std::uint32_t number = 0;
  std::uint32_t argument = 0;
  Command command = Command::kNone;

  std::uint64_t pack() const noexcept {
    return std::uint64_t{number} << 32 | std::uint64_t{argument & 0xffffffu} << 8 | static_cast<std::uint8_t>(command);
  }
  static ControlRequest unpack(std::uint64_t bits) noexcept {
    return {static_cast<std::uint32_t>(bits >> 32), static_cast<std::uint32_t>(bits >> 8) & 0xffffffu,
            static_cast<Command>(bits & 0xff)};
  }
};

struct ControlReply {
  std::uint32_t number = 0;
  std::uint32_t value = 0;
  Answer answer = Answer::kNone;

  std::uint64_t pack() const noexcept {
    return std::uint64_t{number} << 32 | std::uint64_t{value & 0xffffffu} << 8 | static_cast<std::uint8_t>(answer);
  }
  static ControlReply unpack(std::uint64_t bits) noexcept {
    return {static_cast<std::uint32_t>(bits >> 32), static_cast<std::uint32_t>(bits >> 8) & 0xffffffu,
            static_cast<Answer>(bits & 0xff)};
  }
};

inline constexpr std::uint32_t kPausedValue = 1;
inline constexpr std::uint32_t kStoppingValue = 2;

// The futex word of a row's control request: its number, which is what changes.
const std::atomic<std::uint32_t>& request_futex(const shm::RosterRow& row) noexcept;

// Tool side. Returns the number to look for in the reply.
std::uint32_t send_request(shm::Segment& segment, std::uint32_t row, std::uint64_t incarnation, Command command,
                           std::uint32_t argument) noexcept;
// True when the row has answered that request, or the incarnation asked is there no more (kLeft).
bool read_reply(const shm::Segment& segment, std::uint32_t row, std::uint32_t number, ControlReply& reply) noexcept;

// Worker side: takes the request that has not been answered yet; false when there is none.
bool take_request(const shm::RosterRow& row, ControlRequest& request) noexcept;
void answer(shm::RosterRow& row, const ControlRequest& request, Answer what, std::uint32_t value) noexcept;

// As events (docs/events.md) of whoever answers.
void tell_received(engine::Engine& engine, const ControlRequest& request, std::int64_t now_ns) noexcept;
void tell_answered(engine::Engine& engine, const ControlRequest& request, Answer what, std::int64_t now_ns) noexcept;

}  // namespace stem::worker
