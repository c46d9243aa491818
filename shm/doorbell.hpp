// Sleeping and waking without a broker: a sleeper sets its bit and parks on its own futex word; whoever
// has work for it clears the bit and rings. A bit, not a counter: the bit of a dead sleeper can be cleared.
// When nobody sleeps, nobody makes a system call.
#pragma once

#include <cstdint>

#include "shm/participant.hpp"

namespace stem::shm {

enum class WakeReason : std::uint8_t { kRung, kTimeout, kWorkSeen };

// Sets the bit, asks `work_seen` once more, parks until rung or `timeout_ns`, clears the bit.
// A producer killed between its push and its ring costs at most the timeout.
template <class WorkSeen>
WakeReason sleep_for_work(Participant& self, std::int64_t timeout_ns, WorkSeen work_seen) noexcept;

// Wakes at most `count` sleepers that serve `queue`; returns how many were rung.
std::uint32_t wake_workers(Segment& segment, std::uint32_t queue, std::uint32_t count) noexcept;

// Wakes this sleeper; false when it was not asleep.
bool wake_worker(Segment& segment, std::uint32_t participant) noexcept;
// True when the participant has said that it takes tasks of `queue`.
bool serves(const Segment& segment, std::uint32_t participant, std::uint32_t queue) noexcept;

// True when some participant sleeps for work: one line, read by every producer.
inline bool anyone_sleeps(const Segment& segment) noexcept {
  const Header& h = segment.header();
  const std::uint32_t words = (segment.geometry().participant_count + 63) / 64;
  for (std::uint32_t w = 0; w < words; ++w)
    if (h.sleepers[w].load(std::memory_order_seq_cst) != 0) return true;
  return false;
}

// Rings one participant, whatever it sleeps for.
void ring(Segment& segment, std::uint32_t participant) noexcept;

// Rings everyone who waits for a task to be settled and named this one.
void wake_result_waiters(Segment& segment, std::uint64_t awaited) noexcept;
inline bool anyone_awaits(const Segment& segment) noexcept {
  const Header& h = segment.header();
  const std::uint32_t words = (segment.geometry().participant_count + 63) / 64;
  for (std::uint32_t w = 0; w < words; ++w)
    if (h.result_waiters[w].load(std::memory_order_seq_cst) != 0) return true;
  return false;
}

// ---- details

// The doorbell word to park on, read before the bit is set.
std::uint32_t prepare_sleep(Participant& self) noexcept;
void set_sleep_bit(Participant& self) noexcept;
void clear_sleep_bit(Participant& self) noexcept;
void set_waiter_bit(Participant& self, std::uint64_t awaited) noexcept;
void clear_waiter_bit(Participant& self) noexcept;
// False on timeout.
bool park(Participant& self, std::uint32_t seen, std::int64_t timeout_ns) noexcept;

template <class WorkSeen>
WakeReason sleep_for_work(Participant& self, std::int64_t timeout_ns, WorkSeen work_seen) noexcept {
  const std::uint32_t seen = prepare_sleep(self);
  set_sleep_bit(self);
  WakeReason reason = WakeReason::kWorkSeen;
  if (!work_seen()) reason = park(self, seen, timeout_ns) ? WakeReason::kRung : WakeReason::kTimeout;
  clear_sleep_bit(self);
  return reason;
}

}  // namespace stem::shm
