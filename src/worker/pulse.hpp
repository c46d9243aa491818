// The thread beside a worker process's loop: beats while a handler runs, answers remote control, fires soft
// limits and stops, and lets one stop mode follow the other when its time is over. It touches only
// single words of the roster row; leases are the loop's alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <thread>

#include "engine/control.hpp"
#include "shm/participant.hpp"
#include "worker/child_page.hpp"
#include "worker/futex_set.hpp"
#include "worker/worker_options.hpp"

namespace stem::worker {

// Resident bytes of this process.
std::uint64_t own_rss_bytes() noexcept;

class Pulse {
 public:
  // Whose leases its beats renew, as far as it counts them: those of coroutine handlers count their own (flights.hpp).
  enum class Renews : std::uint8_t { kCurrent, kNothing };
  // What coroutine handlers wait for only the loop knows.
  enum class AnswersWhere : std::uint8_t { kNobody, kLoop };

  Pulse(engine::Engine& engine, ChildPage& page, const WorkerOptions& options, int supervisor_pid, Renews renews,
        AnswersWhere answers_where);
  ~Pulse();

  // The loop's side. The token for the next task; fires at `soft_deadline_ns` (0 = only when stopped).
  const std::stop_token& begin_task(std::int64_t soft_deadline_ns, std::uint64_t handle) {
    if (soft_deadline_ns != 0 || stale_.load(std::memory_order_acquire)) [[unlikely]]
      arm(soft_deadline_ns, handle);
    return token_;
  }
  // The task is over: its soft limit must not hit the next one. True when it was revoked while it ran.
  bool end_task(engine::TaskId id) {
    if (armed_) [[unlikely]]
      disarm();
    return stale_.load(std::memory_order_acquire) && engine::Control::take_revoke_request(self_.row(), id);
  }

 private:
  void arm(std::int64_t deadline_ns, std::uint64_t handle);
  void disarm();
  void run();
  void answer_control();
  std::int64_t advance_stop(std::int64_t now_ns);
  std::int64_t fire_soft_limit(std::int64_t now_ns);
  void fire_revoke();
  void beat(std::int64_t now_ns);
  void count_renewal();

  engine::Engine& engine_;  // only for its events: leases are the loop's
  shm::Participant& self_;
  ChildPage& page_;
  const WorkerOptions& options_;
  const int supervisor_pid_;
  const Renews renews_;
  const AnswersWhere answers_where_;

  // Of the loop.
  std::stop_token token_;
  bool armed_ = false;

  std::atomic<bool> stale_{true};  // the token has fired (or there is none yet): the next task needs another

  std::mutex mutex_;
  std::stop_source source_;       // guarded
  std::int64_t deadline_ns_ = 0;  // guarded; 0 = none
  std::uint64_t handle_ = 0;      // guarded

  // Of the thread.
  FutexSet futexes_;
  std::int64_t next_beat_ns_ = 0;
  std::int64_t stop_since_ns_ = 0;
  StopMode stop_seen_ = StopMode::kNone;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace stem::worker
