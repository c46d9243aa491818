#include "worker/control.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <climits>
#include <cstdio>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "shm/doorbell.hpp"

namespace stem::worker {
namespace {

constexpr std::uint32_t kIncarnationMask = 0xfff;

bool asks(std::uint32_t number, std::uint64_t status) noexcept {
  return ((number ^ static_cast<std::uint32_t>(shm::row_incarnation(status))) & kIncarnationMask) == 0;
}

const char* name_of(Command command) noexcept {
  switch (command) {
    case Command::kNone: break;
    case Command::kPing: return "ping";
    case Command::kShutdown: return "shutdown";
    case Command::kPause: return "pause";
    case Command::kResume: return "resume";
    case Command::kResize: return "resize";
    case Command::kWhere: return "where";
  }
  return "unknown";
}

// Every `stem worker status` asks each worker: what is worth remembering must not give way to that.
bool is_question(Command command) noexcept { return command == Command::kPing || command == Command::kWhere; }

}  // namespace

static_assert(std::endian::native == std::endian::little, "the request's number is its second half");

const std::atomic<std::uint32_t>& request_futex(const shm::RosterRow& row) noexcept {
  return *(reinterpret_cast<const std::atomic<std::uint32_t>*>(&row.control_request) + 1);
}

std::uint32_t send_request(shm::Segment& segment, std::uint32_t index, std::uint64_t incarnation, Command command,
                           std::uint32_t argument) noexcept {
  shm::RosterRow& row = segment.row(index);
  base::Random random(static_cast<std::uint64_t>(base::monotonic_ns()) ^ std::uint64_t{index} << 48);
  const auto chance = static_cast<std::uint32_t>(random.next() >> 32) & ~kIncarnationMask;
  const auto number = 0x8000'0000u | chance | (static_cast<std::uint32_t>(incarnation) & kIncarnationMask);
  // order(remote.request): release; pairs with the acquire in take_request(). The word says all; what the
  // asker did before (a pause written into the queue, say) is seen by who obeys it.
  row.control_request.store(ControlRequest{number, argument, command}.pack(), std::memory_order_release);
  ::syscall(SYS_futex, const_cast<std::atomic<std::uint32_t>*>(&request_futex(row)), FUTEX_WAKE, INT_MAX, nullptr,
            nullptr, 0);
  shm::ring(segment, index);
  return number;
}

bool read_reply(const shm::Segment& segment, std::uint32_t row, std::uint32_t number, ControlReply& reply) noexcept {
  // order(remote.reply): acquire both, the status first; pairs with the release in answer(). Who answers
  // does so before it leaves, so a row that has gone and shows no answer never gave one.
  const std::uint64_t status = segment.row(row).status.load(std::memory_order_acquire);
  reply = ControlReply::unpack(segment.row(row).control_reply.load(std::memory_order_acquire));
  if (reply.number == number && reply.answer != Answer::kNone) return true;
  if (asks(number, status) && shm::row_state(status) == shm::RowState::kLive) return false;
  reply = {number, 0, Answer::kLeft};
  return true;
}

bool take_request(const shm::RosterRow& row, ControlRequest& request) noexcept {
  // order(remote.request): acquire; see send_request().
  request = ControlRequest::unpack(row.control_request.load(std::memory_order_acquire));
  if (request.number == 0 || request.command == Command::kNone) return false;
  if (!asks(request.number, row.status.load(std::memory_order_relaxed))) return false;
  return ControlReply::unpack(row.control_reply.load(std::memory_order_relaxed)).number != request.number;
}

void answer(shm::RosterRow& row, const ControlRequest& request, Answer what, std::uint32_t value) noexcept {
  // order(remote.reply): release; pairs with the acquire in read_reply(): what was asked for is done.
  row.control_reply.store(ControlReply{request.number, value, what}.pack(), std::memory_order_release);
}

void tell_received(engine::Engine& engine, const ControlRequest& request, std::int64_t now_ns) noexcept {
  if (is_question(request.command) && !engine.events().stepped(now_ns)) return;
  engine.tell_worker(shm::EventKind::kControlReceived, engine.self().index(), request.argument,
                     name_of(request.command), now_ns);
}

void tell_answered(engine::Engine& engine, const ControlRequest& request, Answer what, std::int64_t now_ns) noexcept {
  if (is_question(request.command) && !engine.events().stepped(now_ns)) return;
  char text[64];
  const int n =
      std::snprintf(text, sizeof text, "%s: %s", name_of(request.command), what == Answer::kDone ? "done" : "refused");
  engine.tell_worker(shm::EventKind::kControlDone, engine.self().index(), request.argument,
                     std::string_view(text, static_cast<std::size_t>(n)), now_ns);
}

}  // namespace stem::worker
