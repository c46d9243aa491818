// Rate and concurrency limits, shared by all processes of the segment, without a lock.
//
// Rate: the generic cell rate algorithm (ITU-T I.371): one word, the theoretical arrival time, advanced by
// CAS. A task that comes too early takes its place in time at once and is delayed until then, so each is
// held back once, in order, and nobody polls.
// Concurrency: N holder words. A word holds while its task is leased in that very life, so nothing has to
// be given back: a crashed, retried or finished holder is stale by itself.
#pragma once

#include <cstdint>

#include "engine/task.hpp"
#include "shm/segment.hpp"

namespace stem::engine {

class Limiter {
 public:
  explicit Limiter(shm::Segment& segment) : segment_(segment) {}

  // When a task of this key may start: `now_ns` or earlier = now. Takes the place in time. A burst of
  // rate.count is let through. Without room in the limiter table everything may start (failOpen), and the
  // answer is now.
  std::int64_t take_rate(std::uint64_t key, Rate rate, std::int64_t now_ns) noexcept;
  // Gives back what take_rate() took for a task that neither starts nor waits for its time.
  void give_back_rate(std::uint64_t key, Rate rate) noexcept;

  // True when the task now counts as one of at most `limit` running ones; `limit` beyond
  // shm::kLimiterHolders is that many.
  bool take_place(std::uint64_t key, std::uint32_t limit, std::uint32_t slot, shm::ControlWord word) noexcept;
  // Remembers a task that was held back, so that the next to finish can let it go at once.
  void add_waiter(std::uint64_t key, std::uint64_t handle) noexcept;
  // One remembered waiter, or 0.
  std::uint64_t take_waiter(std::uint64_t key) noexcept;
  // Running tasks of a key now.
  std::uint32_t holders(std::uint64_t key) const noexcept;

 private:
  shm::LimiterRow* row(std::uint64_t key, bool make) const noexcept;
  bool stands(std::uint64_t holder) const noexcept;

  shm::Segment& segment_;
};

// Keys of the queue's own limits.
std::uint64_t queue_rate_key(std::uint32_t queue) noexcept;
std::uint64_t queue_concurrency_key(std::uint32_t queue) noexcept;

// A Rate as stored in QueueRow::rate.
constexpr std::uint64_t pack_rate(Rate rate) { return std::uint64_t{rate.count} << 32 | rate.period_s; }
constexpr Rate unpack_rate(std::uint64_t bits) {
  return {static_cast<std::uint32_t>(bits >> 32), static_cast<std::uint32_t>(bits)};
}

}  // namespace stem::engine
