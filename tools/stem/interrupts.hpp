// Ends a command that goes on for ever in good order: SIGINT, SIGTERM and SIGHUP become a descriptor, so
// that the command can wait for them together with other things, and detach before it ends.
#pragma once

#include <csignal>
#include <cstdint>

namespace stem::cli {

class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // True as soon as a signal has come, false when the time has passed. `descriptor` (-1: none) ends the
  // wait too, when it can be read.
  bool wait_ns(std::int64_t timeout_ns, int descriptor = -1);
  [[nodiscard]] bool came() const { return came_; }

 private:
  int descriptor_ = -1;
  sigset_t previous_{};
  bool came_ = false;
};

}  // namespace stem::cli
