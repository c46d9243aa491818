// Waits on several futex words at once (futex_waitv, Linux 5.16); where the kernel has it not, looks at
// them every millisecond.
#pragma once

#include <linux/futex.h>

#include <atomic>
#include <cstdint>

namespace stem::worker {

class FutexSet {
 public:
  static constexpr std::uint32_t kMost = FUTEX_WAITV_MAX;

  void clear() noexcept { count_ = 0; }
  // Watch `word` while it is `seen`. False when the set is full: then wait_until() looks again soon.
  bool add(const std::atomic<std::uint32_t>& word, std::uint32_t seen) noexcept;
  // Returns when a word changed or was woken, a signal came, or CLOCK_MONOTONIC reached `until_ns`.
  void wait_until(std::int64_t until_ns) noexcept;
  bool changed() const noexcept;

 private:
  void poll_until(std::int64_t until_ns) noexcept;

  futex_waitv words_[kMost]{};
  std::uint32_t count_ = 0;
  bool overflown_ = false;
  bool refused_ = false;
};

// Marks a robust mutex's word as having a waiter, so that the kernel wakes on its owner's death, and returns
// the word as it now stands. A word without an owner, or of a dead one, is left as it is.
std::uint32_t mark_waited(std::atomic<std::uint32_t>& alive) noexcept;

}  // namespace stem::worker
