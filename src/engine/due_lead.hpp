// How long before a due time its keeper ends its sleep, rings a worker, and spins. A sleep ends late by what the
// machine takes to wake a processor: 5 µs on bare metal, 50 µs on a virtual machine whose processor is idle, and ten
// times that once in a hundred sleeps. The keeper's own comes first and then the worker's, so the lead is twice what
// this machine's sleeps have shown: up at once, down by a 256th of the rest with each sleep.
//
// Not thread-safe: each keeper has one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "shm/segment.hpp"

namespace stem::engine {

class DueLead {
 public:
  static constexpr std::int64_t kFirstNs = 100'000;
  static constexpr std::int64_t kMostNs = 800'000;

  // Before a due time that is `left_ns` ahead. A wait of which a quarter would be spun gets no more than the first
  // lead, so that a keeper of many due times does not spin all the time.
  std::int64_t before(std::int64_t left_ns) const noexcept {
    return std::min(lead_ns_, std::max(kFirstNs, left_ns / 4));
  }

  // A sleep that nobody ended early ended so much after its time.
  void slept(std::int64_t late_ns) noexcept {
    const std::int64_t shown_ns = std::clamp(2 * late_ns, kLeastNs, kMostNs);
    lead_ns_ = shown_ns > lead_ns_ ? shown_ns : lead_ns_ - (lead_ns_ - shown_ns) / 256;
  }

 private:
  static constexpr std::int64_t kLeastNs = 40'000;

  std::int64_t lead_ns_ = kFirstNs;
};

// For a worker that was rung and found nothing: a keeper rings a sleeper ahead of a due time (Keeper::rouse()), that
// it may be awake by then. Until when to look; `now_ns` when nothing is due soon.
inline std::int64_t due_soon_ns(const shm::Segment& segment, std::int64_t now_ns) noexcept {
  const std::int64_t due_ns = segment.header().keeper_due_ns.load(std::memory_order_relaxed);
  return due_ns > now_ns && due_ns - now_ns <= DueLead::kMostNs ? due_ns : now_ns;
}

}  // namespace stem::engine
