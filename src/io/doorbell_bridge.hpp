// The doorbell of a participant as a descriptor, for a loop that cannot wait for the word itself.
#pragma once

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <thread>

#include "shm/doorbell.hpp"
#include "shm/participant.hpp"

namespace stem::io {

// Producers ring a doorbell in the segment. Where the loop waits for descriptors only, a thread stands in between.
class DoorbellBridge {
 public:
  explicit DoorbellBridge(shm::Participant& self) : self_(self), fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the loop's thread, whose wait they must end
    thread_ = std::thread([this] {
      while (!stop_.load(std::memory_order_relaxed)) {
        const std::uint32_t seen = shm::prepare_sleep(self_);
        if (seen == rung_) {
          (void)shm::park(self_, seen, kParkNs);
          continue;
        }
        rung_ = seen;
        const std::uint64_t one = 1;
        (void)!::write(fd_, &one, sizeof one);
      }
    });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~DoorbellBridge() {
    stop_.store(true, std::memory_order_relaxed);
    shm::ring(self_.segment(), self_.index());
    thread_.join();
    ::close(fd_);
  }
  int fd() const { return fd_; }
  void clear() const {
    std::uint64_t count = 0;
    (void)!::read(fd_, &count, sizeof count);
  }

 private:
  static constexpr std::int64_t kParkNs = 50'000'000;

  shm::Participant& self_;
  int fd_;
  std::uint32_t rung_ = 0;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace stem::io
