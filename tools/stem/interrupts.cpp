#include "tools/stem/interrupts.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <ctime>
#include <initializer_list>

namespace stem::cli {

Interrupts::Interrupts() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, &previous_);
  descriptor_ = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

Interrupts::~Interrupts() {
  if (descriptor_ >= 0) ::close(descriptor_);
  // Who was interrupted is leaving already: a second signal (a group gets one from the terminal and one from
  // timeout) must not turn that into a death.
  if (!came_) pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
}

bool Interrupts::wait_ns(std::int64_t timeout_ns, int descriptor) {
  pollfd waits[2] = {{descriptor_, POLLIN, 0}, {descriptor, POLLIN, 0}};
  const timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  (void)::ppoll(waits, 2, &timeout, nullptr);
  came_ = came_ || (waits[0].revents & POLLIN) != 0;
  return came_;
}

}  // namespace stem::cli
