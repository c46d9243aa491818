// Child processes of a test: started by fork, ended by pid, never outliving the test.
#pragma once

#include <sys/types.h>

#include <functional>

namespace stem::test {

// One forked child. Not thread-safe; fork only while the test has no other threads.
class Process {
 public:
  Process() = default;
  // Runs `body` in a child, which ends with the code it returns and runs no destructors of the parent.
  // The child is killed by the kernel when the parent dies.
  explicit Process(const std::function<int()>& body);
  ~Process();  // kills and reaps what still runs
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;

  pid_t pid() const { return pid_; }
  bool running();  // reaps when it has ended
  void signal(int number) const;
  void stop() const;    // SIGSTOP, and waits until it stands
  void resume() const;  // SIGCONT
  void kill();          // SIGKILL and reap
  // Waits for its end: the exit code, or 128 + signal. 128 + SIGKILL after `deadline_ms`.
  int wait(int deadline_ms = 60'000);

 private:
  void reaped(int status);

  pid_t pid_ = -1;
  int code_ = -1;
};

}  // namespace stem::test
