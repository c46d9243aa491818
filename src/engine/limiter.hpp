// Rate and concurrency limits, shared by all processes of the segment, without a lock.
//
// Rate: the generic cell rate algorithm (ITU-T I.371): one word, the theoretical arrival time, advanced by
// CAS. A task that comes too early takes its place in time at once and is delayed until then, so each is
// held back once, in order, and nobody polls.
// Concurrency: N holder words. A word holds while its task is leased in that very life, so nothing has to
// be given back: a crashed, retried or finished holder is stale by itself.
//
// Of a queue that a gateway serves, limits are kept with other hosts (SharedLimits): then places come from
// batches and permits that the gateway has got from the cluster, and who finds none asks for more and comes again.
#pragma once

#include <cstdint>

#include "engine/task.hpp"
#include "shm/segment.hpp"

namespace stem::engine {

enum class LimitsOf : std::uint8_t {
  kHost,     // this host's alone
  kCluster,  // kept with other hosts
  kNobody,   // kept with other hosts, who cannot be asked; and the task is not to start without
};

// An answer about one rate.
struct RatePlace {
  std::int64_t at_ns = 0;  // taken: when it may start, now or earlier = now. Not taken: when to ask again
  bool taken = true;
  // Which word was advanced, from and to what, so that the place can be given back.
  std::atomic<std::int64_t>* word = nullptr;
  std::int64_t interval_ns = 0;
  std::int64_t next_ns = 0;  // of a batch: what the word became; 0 = it may be taken back whatever it is by now
};

class Limiter {
 public:
  explicit Limiter(shm::Segment& segment) : segment_(segment) {}

  // When a task of this key may start. `looks`: how often it has been turned away. Takes the place in time. A burst
  // of rate.count is let through. Without room in the limiter table everything may start, and the answer is now.
  RatePlace take_rate(std::uint64_t key, Rate rate, LimitsOf whose, std::uint32_t looks, std::int64_t now_ns) noexcept;
  // For a task that neither starts nor waits for its time.
  static void give_back(const RatePlace& place) noexcept;

  // True when the task now counts as one of at most `limit` running ones; `limit` beyond
  // shm::kLimiterHolders is that many on this host.
  bool take_place(std::uint64_t key, std::uint32_t limit, LimitsOf whose, std::uint32_t looks, std::uint32_t slot,
                  shm::ControlWord word, std::int64_t now_ns) noexcept;
  // When a task that found no place may look again: soon at first, and all that wait for the key one after the other.
  std::int64_t look_again_ns(std::uint64_t key, std::uint32_t looks, std::int64_t now_ns) noexcept;
  // Remembers a task that was held back, so that the next to finish can let it go at once.
  void add_waiter(std::uint64_t key, std::uint64_t handle) noexcept;
  // One remembered waiter, or 0.
  std::uint64_t take_waiter(std::uint64_t key) noexcept;
  // Running tasks of a key now.
  std::uint32_t holders(std::uint64_t key) const noexcept;
  std::uint32_t holders(const shm::LimiterRow& row) const noexcept;
  // When the next place of a rate comes, as far as this host's own word says; 0 = now.
  std::int64_t next_place_ns(std::uint64_t key, Rate rate) const noexcept;

 private:
  shm::LimiterRow* row(std::uint64_t key, bool make) const noexcept;
  bool stands(std::uint64_t holder) const noexcept;
  bool take_holder(shm::LimiterRow& row, std::uint64_t mine, std::uint32_t places) noexcept;
  RatePlace take_of_batches(shm::LimiterRow& row, Rate rate, std::uint32_t looks, std::int64_t now_ns) noexcept;
  static std::int64_t take_pace(shm::LimiterRow& row, std::uint32_t looks, std::int64_t longest_ns,
                                std::int64_t now_ns) noexcept;
  std::uint32_t others(const shm::LimiterRow& row, std::uint64_t mine) const noexcept;
  void give_up(shm::LimiterRow& row, std::uint64_t mine) noexcept;
  void ask(shm::LimiterRow& row, std::uint64_t limit, bool anew) noexcept;

  shm::Segment& segment_;
};

// Keys of the queue's own limits: the same on every host.
std::uint64_t queue_rate_key(const shm::Segment& segment, std::uint32_t queue) noexcept;
std::uint64_t queue_concurrency_key(const shm::Segment& segment, std::uint32_t queue) noexcept;

// A Rate as stored in QueueRow::rate.
constexpr std::uint64_t pack_rate(Rate rate) { return std::uint64_t{rate.count} << 32 | rate.period_s; }
constexpr Rate unpack_rate(std::uint64_t bits) {
  return {static_cast<std::uint32_t>(bits >> 32), static_cast<std::uint32_t>(bits)};
}
constexpr std::int64_t period_ns(Rate rate) { return std::int64_t{rate.period_s} * kSecondNs; }
constexpr std::int64_t interval_ns(Rate rate) { return period_ns(rate) / rate.count; }
// How far a burst may run ahead.
constexpr std::int64_t tolerance_ns(Rate rate) { return period_ns(rate) - interval_ns(rate); }

}  // namespace stem::engine
