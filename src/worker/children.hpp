// The supervisor's worker processes: from fork to the last trace of a death.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "worker/child_page.hpp"
#include "worker/futex_set.hpp"
#include "worker/handler_table.hpp"
#include "worker/worker_options.hpp"

namespace stem::worker {

// One place for a worker process; its number is part of its name.
struct Child {
  enum class State : std::uint8_t {
    kDown,      // not wanted
    kDue,       // to be started at restart_ns
    kStarting,  // forked, not joined yet
    kRunning,
  };
  std::uint32_t number = 0;
  State state = State::kDown;
  std::string name;
  int core = -1;  // wanted
  pid_t pid = 0;
  ChildPagePtr page;
  std::uint32_t row = 0;  // valid while kRunning
  std::uint64_t incarnation = 0;
  std::int64_t started_ns = 0;
  std::int64_t restart_ns = 0;
  std::uint32_t crashes = 0;   // in a row, without a healthy minute between
  bool told_to_leave = false;  // scaled down: replaced only if it is wanted again by then
};

class Children {
 public:
  Children(const WorkerOptions& options, const HandlerTable& handlers, engine::Engine& engine);

  // How many there shall be; those with the highest numbers leave first.
  void set_target(std::uint32_t count, std::int64_t now_ns);
  std::uint32_t target() const noexcept { return target_; }

  // One round over everything that may have happened. Returns when to look again.
  std::int64_t step(std::int64_t now_ns);
  // Adds what announces a death to `futexes`.
  void watch(FutexSet& futexes);

  // Relays a stop; kHard kills, and requeues what was held without using an attempt.
  void stop(StopMode mode, std::int64_t now_ns);
  void set_paused(bool paused) noexcept { paused_ = paused; }
  bool all_gone() const noexcept;
  bool all_joined() const noexcept;
  const std::vector<Child>& all() const noexcept { return children_; }
  std::uint32_t running() const noexcept;

 private:
  // Dead, or as good as dead, but not yet reaped: a core dump may take long.
  struct Departed {
    pid_t pid = 0;
    std::string name;
    std::uint32_t row = 0;
    std::uint64_t incarnation = 0;  // 0 = it never joined
    ChildPagePtr page;
  };

  void start(Child& child, std::int64_t now_ns);
  void notice_joined(Child& child);
  bool looks_dead(const Child& child) const noexcept;
  void on_death(Child& child, std::int64_t now_ns);
  void plan_restart(Child& child, bool crashed, std::int64_t now_ns);
  void enforce_hard_limit(Child& child, std::int64_t now_ns);
  void settle_killed(const Child& child, std::uint64_t handle, std::int64_t now_ns);
  void kill_now(const Child& child, std::int64_t now_ns);
  void release_held(const Child& child, std::int64_t now_ns);
  void reap(std::int64_t now_ns);
  void on_exit(pid_t pid, int status, std::int64_t now_ns);
  void count_restart(int status, ExitReason reason) noexcept;
  void log_exit(const Departed& departed, int status, ExitReason reason);

  const WorkerOptions& options_;
  const HandlerTable& handlers_;
  engine::Engine& engine_;
  std::vector<int> allowed_cores_;
  std::vector<Child> children_;
  std::vector<Departed> departed_;
  std::uint32_t target_ = 0;
  StopMode stop_ = StopMode::kNone;
  bool paused_ = false;
};

}  // namespace stem::worker
