// How a keeper's owner sleeps so that delayed tasks start on time. A sleep ends late by what the machine takes to wake a
// processor: 5 µs on bare metal, 50 µs on a virtual machine whose processor is idle, and ten times that once in a hundred
// sleeps. So the sleep ends ahead of a due time, a sleeping worker is rung, and the rest is spun. The keeper's own wake
// comes first and then the worker's: the lead is twice what this machine's sleeps have shown.
//
// Not thread-safe: each keeper has one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/keeper.hpp"

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

  // A sleep that nobody ended early ended so much after its time: up at once, down by a 256th of the rest.
  void slept(std::int64_t late_ns) noexcept {
    const std::int64_t shown_ns = std::clamp(2 * late_ns, kLeastNs, kMostNs);
    lead_ns_ = shown_ns > lead_ns_ ? shown_ns : lead_ns_ - (lead_ns_ - shown_ns) / 256;
  }

 private:
  static constexpr std::int64_t kLeastNs = 40'000;

  std::int64_t lead_ns_ = kFirstNs;
};

class DueSleep {
 public:
  // Without `ahead` sleeps end at their time and nobody is rung: for a machine of one processor, where who spins is in
  // the way. The keeper outlives it.
  DueSleep(Keeper& keeper, bool ahead) : keeper_(keeper), ahead_(ahead) {}

  // Sleeps until `next_ns`, when something else is to be done at the latest, or a due time, or until something comes.
  // `clock()` is the time; `sleep(until_ns)` may end whenever it likes; `came()` says that something has come, while it
  // spins.
  template <class Clock, class Sleep, class Came>
  void until(std::int64_t next_ns, Clock clock, Sleep sleep, Came came) {
    const std::int64_t due_ns = ahead_ ? keeper_.due_ns() : INT64_MAX;
    if (due_ns != due_ns_) {  // once for each: who is woken shortly before it must not take it for a short wait
      due_ns_ = due_ns;
      lead_ns_ = due_ns == INT64_MAX ? 0 : lead_.before(due_ns - clock());
    }
    const std::int64_t ahead_ns = due_ns - lead_ns_;
    const std::int64_t wake_ns = std::min(next_ns, ahead_ns);
    if (clock() < wake_ns) {
      sleep(wake_ns);
      const std::int64_t late_ns = clock() - wake_ns;
      if (late_ns < 0) return;  // something came first
      lead_.slept(late_ns);
    }
    const std::int64_t now_ns = clock();
    if (now_ns < ahead_ns || now_ns >= due_ns) return;
    keeper_.rouse();
    const std::int64_t end_ns = std::min(next_ns, due_ns);
    while (!came() && clock() < end_ns) {
    }
  }

 private:
  Keeper& keeper_;
  const bool ahead_;
  DueLead lead_;
  std::int64_t due_ns_ = INT64_MAX, lead_ns_ = 0;
};

// For a worker that was rung and found nothing: until when to look, as a keeper rings a sleeper ahead of a due time
// (Keeper::rouse()). `now_ns` when nothing is due soon.
inline std::int64_t due_soon_ns(const shm::Segment& segment, std::int64_t now_ns) noexcept {
  const std::int64_t due_ns = segment.header().keeper_due_ns.load(std::memory_order_relaxed);
  return due_ns > now_ns && due_ns - now_ns <= DueLead::kMostNs ? due_ns : now_ns;
}

}  // namespace stem::engine
