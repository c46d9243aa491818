#include "worker/futex_set.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "base/clock.hpp"

namespace stem::worker {
namespace {

constexpr std::int64_t kPollNs = 1'000'000;

timespec to_timespec(std::int64_t ns) { return {ns / 1'000'000'000, ns % 1'000'000'000}; }

}  // namespace

bool FutexSet::add(const std::atomic<std::uint32_t>& word, std::uint32_t seen) noexcept {
  if (count_ == 0) overflown_ = false;
  if (count_ == kMost) {
    overflown_ = true;
    return false;
  }
  words_[count_] = {};
  words_[count_].val = seen;
  words_[count_].uaddr = reinterpret_cast<std::uint64_t>(&word);
  words_[count_].flags = FUTEX_32;  // shared between processes
  ++count_;
  return true;
}

bool FutexSet::changed() const noexcept {
  return std::any_of(words_, words_ + count_, [](const futex_waitv& w) {
    const auto* word = reinterpret_cast<const std::atomic<std::uint32_t>*>(w.uaddr);
    return word->load(std::memory_order_acquire) != static_cast<std::uint32_t>(w.val);
  });
}

void FutexSet::wait_until(std::int64_t until_ns) noexcept {
  if (overflown_) until_ns = std::min(until_ns, base::monotonic_ns() + kPollNs);
  if (refused_) return poll_until(until_ns);
  const timespec until = to_timespec(std::max<std::int64_t>(until_ns, 1));
  if (::syscall(SYS_futex_waitv, words_, count_, 0, &until, CLOCK_MONOTONIC) >= 0) return;
  // EAGAIN: changed before the sleep. EINTR: a signal. ETIMEDOUT. All are for the caller to look at.
  if (errno == ENOSYS || errno == EPERM) refused_ = true;
}

void FutexSet::poll_until(std::int64_t until_ns) noexcept {
  while (!changed()) {
    const std::int64_t now = base::monotonic_ns();
    if (now >= until_ns) return;
    const timespec pause = to_timespec(std::min(until_ns - now, kPollNs));
    if (::clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr) == EINTR) return;
  }
}

std::uint32_t mark_waited(std::atomic<std::uint32_t>& alive) noexcept {
  std::uint32_t word = alive.load(std::memory_order_acquire);
  while (word != 0 && (word & (FUTEX_OWNER_DIED | FUTEX_WAITERS)) == 0 &&
         !alive.compare_exchange_weak(word, word | FUTEX_WAITERS, std::memory_order_acq_rel)) {
  }
  return word != 0 && (word & FUTEX_OWNER_DIED) == 0 ? word | FUTEX_WAITERS : word;
}

}  // namespace stem::worker
