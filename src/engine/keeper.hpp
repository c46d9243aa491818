// The keeper: the one attached process that promotes delayed tasks on time, ends leases, recovers the
// dead, ends results' lives, and walks the slab as a patrol so that no lost hint stays lost. The role is a
// word in the header; when its holder dies, or is silent for two seconds, the next candidate takes it (a late
// holder does no harm: all it does are changes from exact words). Everything it keeps privately is
// rebuilt from the slab, so a takeover loses nothing.
//
// Not thread-safe; driven by its owner: call step() when `next_ns` has come or the doorbell rang.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

#include "engine/engine.hpp"

namespace stem::engine {

class Keeper {
 public:
  explicit Keeper(Engine& engine);
  ~Keeper();  // resigns

  // Holds the role, takes it when vacant or when its holder is proved dead.
  bool hold(std::int64_t now_ns) noexcept;
  bool holding() const noexcept { return holding_; }

  // Does what is due; returns when to call again (CLOCK_MONOTONIC), never later than kLongestSleep.
  std::int64_t step(std::int64_t now_ns) noexcept;

  // The next due time that it knows; INT64_MAX for none. The one moment for which being late matters.
  std::int64_t due_ns() const noexcept { return heap_.empty() || !holding_ ? INT64_MAX : heap_.top().at_ns; }
  // Before its owner spins until due_ns(): rings a worker asleep that serves the task's queue (see due_soon_ns()); once
  // for each due time.
  void rouse() noexcept;

  std::uint64_t patrol_passes() const noexcept { return passes_; }
  // One whole patrol pass at once; for tests and `stem segment recover`.
  void patrol_all(std::int64_t now_ns) noexcept;

 private:
  static constexpr std::int64_t kLongestSleepNs = 100'000'000;
  static constexpr std::int64_t kPassNs = 500'000'000;  // a full patrol pass at least this often
  static constexpr std::uint32_t kStretch = 8192;       // slots per patrol step

  struct Due {
    std::int64_t at_ns;
    std::uint32_t slot;
    shm::ControlWord word;
    bool operator>(const Due& other) const { return at_ns > other.at_ns; }
  };
  // One participant's heartbeat as we have seen it: age by our own clock, clamped, so that suspend, VM
  // pauses and clock steps expire nothing.
  struct Pulse {
    std::uint64_t incarnation = 0;
    std::uint64_t beats = 0;
    std::int64_t silent_ns = 0;
  };

  void take_delayed_hints(std::int64_t now_ns) noexcept;
  void note_delayed(std::uint32_t slot, shm::ControlWord word) noexcept;
  void promote_due(std::int64_t now_ns) noexcept;
  void patrol(std::uint32_t slots, std::int64_t now_ns) noexcept;
  void patrol_slot(std::uint32_t slot, std::int64_t now_ns) noexcept;
  void patrol_ready(std::uint32_t slot, shm::ControlWord word, std::int64_t now_ns) noexcept;
  void patrol_affine(std::uint32_t slot, shm::ControlWord word, std::uint32_t queue, std::uint32_t priority) noexcept;
  void patrol_leased(std::uint32_t slot, shm::ControlWord word, std::int64_t now_ns) noexcept;
  void expire_kept(std::uint32_t slot, shm::ControlWord word, std::int64_t now_ns) noexcept;
  void watch_pulses(std::int64_t now_ns) noexcept;
  std::int64_t visibility_ns(std::uint32_t slot, shm::ControlWord word) noexcept;
  void publish_due() noexcept;
  void drop_stale_due() noexcept;
  bool rival_is_silent(std::uint64_t holder, std::int64_t now_ns) noexcept;
  void patrol_owned(std::uint32_t slot, shm::ControlWord word, std::int64_t now_ns) noexcept;
  void bound_dead_letters() noexcept;

  Engine& engine_;
  shm::Segment& segment_;
  bool holding_ = false;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> heap_;
  std::int64_t roused_for_ns_ = INT64_MAX;
  shm::Ring delayed_;
  std::vector<Pulse> pulses_;
  std::int64_t last_pulse_ns_ = 0;
  std::int64_t last_sweep_ns_ = 0;
  std::int64_t pass_started_ns_ = 0;
  std::int64_t last_step_ns_ = 0;
  std::uint32_t cursor_ = 0;
  std::uint64_t block_cursor_ = 0;
  std::uint64_t passes_ = 0;
  // The holder of the role as a candidate sees it.
  std::uint64_t rival_ = 0, rival_beats_ = 0;
  std::int64_t rival_seen_ns_ = 0, rival_silent_ns_ = 0;
};

}  // namespace stem::engine
