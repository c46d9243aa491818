// Beat: fires every tick of every entry once, while it holds the lock. Reads no clock and never waits: time comes in,
// the time of the next call goes out. A tick that is not due yet, or is late by its jitter, lies in a heap and holds
// up no other.
//
// One per attached thread; not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "beat/lock.hpp"
#include "beat/segment_board.hpp"

namespace stem::beat {

struct BeatEvent {
  enum class Kind : std::uint8_t {
    kFired,
    kSkipped,       // by the misfire policy; `count` of them, the last planned for `planned_ns`
    kDeduplicated,  // a unique task of an earlier tick is still there
    kFailed,        // no task came of it; tried again unless `message` says that it makes no sense
    kLost,          // somebody else had fired it
  };
  Kind kind = Kind::kFired;
  const Entry* entry = nullptr;  // during the call
  std::int64_t planned_ns = 0;
  std::int64_t drift_ns = 0;
  std::uint64_t count = 1;
  std::string task;  // its id
  std::string message;
};

class Scheduler {
 public:
  struct Options {
    std::int64_t tick_ns = kSecondNs;  // the longest time between two looks at the entries
    std::function<void(const BeatEvent&)> tell = [](const BeatEvent&) {};
    // Time for the histogram of dispatch durations; nothing else depends on it.
    std::function<std::int64_t()> stopwatch_ns = [] { return std::int64_t{0}; };
  };

  // Figures and counters go to the engine's segment, wherever the entries are.
  Scheduler(std::unique_ptr<Board> board, engine::Engine& engine, BeatLock& lock, Options options);
  // The entries of a segment.
  Scheduler(ScheduleStore& store, BeatLock& lock, TickMaker& maker, Options options);

  // Fires what is due. Returns when to call again, on CLOCK_MONOTONIC.
  std::int64_t step(const Now& now);
  [[nodiscard]] bool holding() const { return holding_; }

 private:
  struct Item {
    StoredEntry stored;
    std::uint64_t round = 0;      // names its entry in the heap
    std::int64_t passed_ns = 0;   // ticks up to here are dealt with without a task
    std::int64_t planned_ns = 0;  // its next tick
    std::int64_t pause_ns = 0;    // after a failure
  };
  struct Due {
    std::int64_t at_ns;  // CLOCK_REALTIME
    std::uint32_t row;
    std::uint64_t round;
    bool operator>(const Due& other) const { return at_ns > other.at_ns; }
  };
  enum class Next : std::uint8_t { kPlan, kWait };

  void look_at_entries(const Now& now);
  void plan(Item& item, const Now& now);
  void wait(Item& item, std::int64_t until_ns);
  Next deal_with(Item& item, const Now& now);
  Next fire(Item& item, std::int64_t planned_ns, const Now& now);
  Next fail(Item& item, std::int64_t planned_ns, const FireResult& result, const Now& now);
  void tell(BeatEvent::Kind kind, const Item& item, std::int64_t planned_ns, const FireResult& result,
            std::int64_t drift_ns = 0);
  void skip(Item& item, std::uint64_t count, std::int64_t last_planned_ns);
  void count(shm::BeatCounter counter, std::uint64_t by = 1) const;

  std::unique_ptr<Board> board_;
  engine::Engine& engine_;
  BeatLock& lock_;
  Options options_;
  bool holding_ = false;
  std::map<std::uint32_t, Item> items_;  // by row
  std::priority_queue<Due, std::vector<Due>, std::greater<>> heap_;
  std::uint64_t rounds_ = 0;
  std::int64_t ahead_ns_ = std::numeric_limits<std::int64_t>::min() / 2;  // the wall clock, of the other
};

// The latest of an entry's planned times in (base, now], at most `most` of them, oldest first.
std::vector<std::int64_t> latest_planned(const StoredEntry& stored, std::int64_t base_ns, std::int64_t now_ns,
                                         std::size_t most);
// How many there are in (base, until); counting ends at `most`.
std::uint64_t count_planned(const StoredEntry& stored, std::int64_t base_ns, std::int64_t until_ns, std::uint64_t most);

}  // namespace stem::beat
