// What people and programs do to queues and tasks from outside: revoke, pause, purge, limits; and what a
// running task says of itself while it runs (progress).
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/engine.hpp"
#include "engine/queue_settings.hpp"

namespace stem::engine {

enum class [[nodiscard]] Revoked : std::uint8_t{
    kCancelled,  // it had not started and never will
    kAsked,      // it is running; its worker has been asked to stop it
    kRunning,    // it is running and was left alone
    kExported,   // it is on its way to another host, or there: the gateway has been asked to revoke it
    kOver,       // it had ended already
    kUnknown,    // no such task
};

class Control {
 public:
  explicit Control(Engine& engine) : engine_(engine), segment_(engine.segment()) {}

  // Cancels a queued or delayed task. A running one is left alone unless `terminate`; then its worker's
  // stop token is set and its outcome will be cancelled. Of one in the outbox only the gateway can tell where it is:
  // the wish stays with the task until a gateway has carried it out (Outbox::wish).
  Revoked revoke(TaskId id, bool terminate, std::int64_t now_ns) noexcept;
  // For workers: true when somebody asked to stop this task; forgets the request.
  static bool take_revoke_request(shm::RosterRow& row, TaskId id) noexcept;
  static bool revoke_requested(const shm::RosterRow& row, TaskId id) noexcept;

  void pause(std::uint32_t queue, std::int64_t now_ns) noexcept;
  void resume(std::uint32_t queue, std::int64_t now_ns) noexcept;
  // Cancels every task of the queue that has not started; returns how many.
  std::uint64_t purge(std::uint32_t queue, std::int64_t now_ns) noexcept;
  // Unset values are left as they are.
  struct Limits {
    std::int64_t max_length = -1;   // 0 = none
    std::int64_t concurrency = -1;  // 0 = none
    bool set_rate = false;
    Rate rate;
    int overflow = -1;  // shm::Overflow
    int lowest_first = -1;
    std::int64_t dead_max = -1;
    std::int64_t dead_retention_ns = -1;
  };
  void set_limits(std::uint32_t queue, const Limits& limits) noexcept;
  // From now on; tasks that are there already follow within a second. False: no memory for the
  // journal's marks.
  bool set_durability(std::uint32_t queue, shm::Durability durability) noexcept {
    return apply_durability(segment_, queue, durability);
  }

 private:
  std::int32_t cancel_items(std::uint32_t slot, shm::ControlWord word, std::uint32_t which,
                            std::int64_t now_ns) noexcept;
  bool leave_wish(TaskId id, shm::ControlWord word, bool terminate) noexcept;
  Revoked revoke_moved(TaskId item, bool terminate, std::int64_t now_ns) noexcept;
  bool cancel_waiting(std::uint32_t slot, shm::ControlWord word, std::int64_t now_ns) noexcept;

  Engine& engine_;
  shm::Segment& segment_;
};

struct Progress {
  double fraction = 0;
  std::string data;
};

// Stores how far a leased task is, 0 to 1; `data` is any short text, and left out when there is no room for
// it. The latest one stands.
Settled set_progress(Engine& engine, const Lease& lease, double fraction, std::string_view data) noexcept;
// False when the task has not said anything since it was claimed. `item`: of a run, else 0.
bool read_progress(Engine& engine, std::uint32_t slot, shm::ControlWord word, std::uint32_t item, Progress& into);

}  // namespace stem::engine
