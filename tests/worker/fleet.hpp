// A supervisor with its worker processes, started by a test, and the ledger that their handlers keep.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/control.hpp"
#include "engine/query.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"
#include "tests/support/wait.hpp"
#include "worker/supervisor.hpp"

namespace stem::test {

inline constexpr std::chrono::seconds kPatience{60};

class Fleet {
 public:
  // `slots`: tasks the segment has room for; 0 = a small number.
  explicit Fleet(std::uint32_t processes = 1, std::uint32_t slots = 0);

  worker::WorkerOptions options;  // set before start()
  worker::HandlerTable handlers;
  std::function<void()> before_run;  // in the supervisor, first

  // Forks the supervisor and waits until its processes have joined.
  void start();
  Process& supervisor() { return supervisor_; }

  engine::TaskId put(const std::string& task, std::string_view payload = {}, const engine::TaskExtras* extras = nullptr,
                     std::uint16_t max_retries = 0);

  engine::Engine& engine() { return *client_->engine; }
  shm::Segment& segment() { return *segment_; }
  std::optional<engine::TaskInfo> task(engine::TaskId id) { return engine::Query(engine()).task(id); }
  std::uint64_t count(shm::Counter counter) { return total(engine(), queue_, counter); }
  std::uint64_t restarts(shm::RestartCause cause) const;  // as supervisors have counted them
  std::vector<engine::WorkerStats> workers();             // live worker processes
  // The pid of the process that runs something; 0 when none does.
  pid_t busy_pid();
  const std::string& directory() const { return directory_.path(); }

  // ---- the ledger, for handlers: a line that outlives the process that wrote it
  void note(const std::string& line) const;
  std::vector<std::string> notes() const;
  std::uint64_t notes_of(std::string_view start) const;

 private:
  ScratchDirectory directory_;
  std::shared_ptr<shm::Segment> segment_;
  std::unique_ptr<Attached> client_;
  std::uint32_t queue_ = 0;
  Process supervisor_;
};

// False once a process is over, reaped or not.
bool runs(pid_t pid);

}  // namespace stem::test
