// Where entries live and their ticks become tasks: a host's segment (segment_board.hpp), or a Redis that hosts share.
// Entries have rows; what a row holds is named by a stamp, another with each change.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "beat/store.hpp"

namespace stem::beat {

// Both clocks at one moment: entries go by the wall clock, leases and locks by the other.
struct Now {
  std::int64_t monotonic_ns = 0;
  std::int64_t realtime_ns = 0;
};

// A tick about to be fired.
struct Tick {
  const Entry& entry;
  std::int64_t planned_ns = 0;
  std::uint64_t token = 0;  // of the lock under which it is fired
};

// Makes of a tick the task that the engine takes.
class TickMaker {
 public:
  virtual ~TickMaker() = default;
  // What the spec points to lives until the next call. An error means that this entry can make no task.
  virtual Result<engine::TaskSpec> make(const Tick& tick, const Now& now) = 0;
};

struct FireResult {
  enum class What : std::uint8_t {
    kFired,
    kLost,       // somebody else was quicker
    kStale,      // it was fired since it was planned: plan again
    kChanged,    // the entry is another by now: read it again
    kBusy,       // cannot be said yet: try again soon
    kDuplicate,  // of a unique task that is still there
    kRefused,    // no room, or nobody answers: try again
    kNoTask,     // this entry can make no task
  };
  What what = What::kFired;
  engine::EnqueueStatus status = engine::EnqueueStatus::kOk;  // of kRefused
  std::string task;                                           // its id
  std::string message;                                        // why not
};

class Board {
 public:
  virtual ~Board() = default;
  virtual std::uint32_t row_total() = 0;
  virtual std::uint64_t stamp_of(std::uint32_t row) = 0;
  // Nothing when the row has no entry, or another by now.
  virtual std::optional<StoredEntry> read(std::uint32_t row, std::uint64_t stamp) = 0;
  // The planned time of the last tick of an entry.
  virtual std::int64_t fired_ns(const StoredEntry& stored) = 0;
  // Fires the tick if the entry still is `stored` and its last tick still is that of `stored`: at most once, whoever
  // else tries, and whenever this process is stopped or killed.
  virtual FireResult fire(const StoredEntry& stored, const Tick& tick, const Now& now) = 0;
  // For people: how it went. Nothing rests on it.
  virtual void note(const StoredEntry& stored, const FireResult& result, std::int64_t drift_ns, const Now& now) = 0;
  virtual void note_skipped(const StoredEntry& stored, std::uint64_t count) = 0;
};

}  // namespace stem::beat
