// Schedules, as they lie in the segment: a table of rows at the end of the layout, the definitions in blocks.
// docs/beat.md argues the protocol; src/beat/store.hpp changes rows, src/engine/tick.cpp fires them.
//
// Nothing here is behind memory before its first use: Header::schedules_used rows are, and with the first of
// them the table before them. "W:" names who writes a field; every change is one CAS from the value that was read.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/histogram.hpp"
#include "shm/limits.hpp"

namespace stem::shm {

inline constexpr std::uint32_t kScheduleRows = 4096;

// What a row stands for: which block has the definition, and the how-manieth change that was.
//   63 .. 32 version | 30 .. 0 block id + 1 (0 = no entry)
class DefinitionWord {
 public:
  constexpr explicit DefinitionWord(std::uint64_t bits) : bits_(bits) {}
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr std::uint32_t version() const { return static_cast<std::uint32_t>(bits_ >> 32); }
  constexpr bool has_entry() const { return (bits_ & kBlock) != 0; }
  constexpr std::uint32_t block() const { return static_cast<std::uint32_t>(bits_ & kBlock) - 1; }  // has_entry()
  constexpr DefinitionWord with_block(std::uint32_t block) const { return next(std::uint64_t{block} + 1); }
  constexpr DefinitionWord without_entry() const { return next(0); }

 private:
  static constexpr std::uint64_t kBlock = 0x7fffffff;
  constexpr DefinitionWord next(std::uint64_t block) const {
    return DefinitionWord(((bits_ >> 32) + 1) << 32 | (block & kBlock));
  }
  std::uint64_t bits_;
};

// Orders the entries that come new into the table, so that no id can come twice. Open: the block's entry is on
// its way into the row, and whoever meets it carries it there.
//   63 .. 44 sequence | 43 .. 32 row | 31 open | 30 .. 0 block id + 1
class DirectoryWord {
 public:
  constexpr explicit DirectoryWord(std::uint64_t bits) : bits_(bits) {}
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr bool open() const { return (bits_ >> 31 & 1) != 0; }
  constexpr std::uint32_t row() const { return static_cast<std::uint32_t>(bits_ >> 32) & (kScheduleRows - 1); }
  constexpr std::uint32_t block() const { return static_cast<std::uint32_t>(bits_ & 0x7fffffff) - 1; }  // open()
  constexpr DirectoryWord opened(std::uint32_t row, std::uint32_t block) const {
    return DirectoryWord(((bits_ >> 44) + 1) << 44 | std::uint64_t{row} << 32 | std::uint64_t{1} << 31 |
                         ((std::uint64_t{block} + 1) & 0x7fffffff));
  }
  constexpr DirectoryWord closed() const { return DirectoryWord(bits_ >> 44 << 44); }

 private:
  std::uint64_t bits_;
};
static_assert(kScheduleRows == 1u << 12);

// Whose turn a row's next tick is. The change from closed to open decides which task the tick is; every value
// stands once in a row's life, so who was stopped before his change is refused.
//   63 open: this task was chosen and is being let go | 62 renewed: 61 .. 30 version of the definition
//   59 .. 0 generation and slot of the task chosen last (not renewed)
class TurnWord {
 public:
  constexpr explicit TurnWord(std::uint64_t bits) : bits_(bits) {}
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr bool open() const { return bits_ >> 63 != 0; }
  constexpr std::uint32_t slot() const { return static_cast<std::uint32_t>(bits_) & (kMaxSlots - 1); }
  constexpr std::uint64_t generation() const { return (bits_ & kTask) >> kSlotBits; }
  static constexpr TurnWord choose(std::uint32_t slot, std::uint64_t generation) {
    return TurnWord(std::uint64_t{1} << 63 | ((generation << kSlotBits | slot) & kTask));
  }
  constexpr TurnWord closed() const { return TurnWord(bits_ & kTask); }
  static constexpr TurnWord renewed(std::uint32_t version) {
    return TurnWord(std::uint64_t{1} << 62 | std::uint64_t{version} << 30);
  }
  friend constexpr bool operator==(TurnWord, TurnWord) = default;

 private:
  static constexpr std::uint64_t kTask = (std::uint64_t{1} << 60) - 1;
  std::uint64_t bits_;
};

struct alignas(kCacheLineBytes) ScheduleRow {
  std::atomic<std::uint64_t> definition;  // DefinitionWord. W: any
  std::atomic<std::uint64_t> turn;        // TurnWord. W: any
  std::atomic<std::int64_t> fired_ns;     // planned time (CLOCK_REALTIME) of the last fired tick; 0 = none. W: any

  // For people; whoever closes a turn adds to them. W: any (adds), the firer (the rest).
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> fired;
  std::atomic<std::uint64_t> failed;
  std::atomic<std::uint64_t> skipped;       // by the misfire policy
  std::atomic<std::uint64_t> deduplicated;  // the previous task of a unique entry was still there
  std::atomic<std::int64_t> fired_at_ns;    // CLOCK_REALTIME
  std::atomic<std::int64_t> drift_ns;       // of the last tick: fired_at - (planned + jitter)
  std::atomic<std::uint32_t> last_status;   // engine::EnqueueStatus of the last attempt
};
static_assert(sizeof(ScheduleRow) == 128);

// Who fires: 63 .. 32 fencing token | 31 .. 12 low bits of the incarnation | 11 .. 0 participant + 1 (0 = nobody)
class BeatLockWord {
 public:
  constexpr explicit BeatLockWord(std::uint64_t bits) : bits_(bits) {}
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr std::uint32_t token() const { return static_cast<std::uint32_t>(bits_ >> 32); }
  constexpr std::uint32_t incarnation() const { return static_cast<std::uint32_t>(bits_ >> 12) & 0xfffff; }
  constexpr std::uint32_t owner() const { return static_cast<std::uint32_t>(bits_) & 0xfff; }
  constexpr BeatLockWord taken_by(std::uint32_t owner, std::uint64_t incarnation) const {
    return BeatLockWord(((bits_ >> 32) + 1) << 32 | (incarnation & 0xfffff) << 12 | owner);
  }
  constexpr BeatLockWord released() const { return BeatLockWord(bits_ >> 32 << 32); }

 private:
  std::uint64_t bits_;
};

// Until when: 63 .. 44 low bits of the token it belongs to | 43 .. 0 milliseconds since the segment's creation.
class BeatUntilWord {
 public:
  constexpr explicit BeatUntilWord(std::uint64_t bits) : bits_(bits) {}
  constexpr BeatUntilWord(std::uint32_t token, std::int64_t until_ms)
      : bits_(std::uint64_t{token} << 44 | (static_cast<std::uint64_t>(until_ms) & kMs)) {}
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr bool of(std::uint32_t token) const { return bits_ >> 44 == (token & 0xfffff); }
  constexpr std::int64_t until_ms() const { return static_cast<std::int64_t>(bits_ & kMs); }

 private:
  static constexpr std::uint64_t kMs = (std::uint64_t{1} << 44) - 1;
  std::uint64_t bits_;
};

enum class BeatCounter : std::uint8_t {
  kAttempts,      // ticks that were tried
  kSuccess,       // ... and became a task
  kFailed,        // ... and did not: no room, no memory, a definition that makes no task
  kDeduplicated,  // ... whose unique predecessor was still there
  kSkipped,       // ticks that the misfire policy passed over
  kLost,          // proposals that came too late: somebody else had fired the tick
  kLockAcquired,
  kLockContended,
  kLockRenewFailed,
};
inline constexpr std::uint32_t kBeatCounterCount = 9;

struct BeatHistogram {
  std::atomic<std::uint64_t> counts[base::kHistogramBuckets];
  std::atomic<std::uint64_t> sum_ns;
};

struct alignas(kCacheLineBytes) ScheduleTable {
  std::atomic<std::uint64_t> directory;                      // DirectoryWord. W: any
  std::atomic<std::uint64_t> changes;                        // goes up with every change of an entry. W: any
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> lock;  // BeatLockWord. W: any
  std::atomic<std::uint64_t> lock_until;                     // BeatUntilWord. W: the holder
  // W: whoever fires (adds); a handful a second.
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> counters[kBeatCounterCount];
  alignas(kCacheLineBytes) BeatHistogram drift;     // how late ticks were fired
  alignas(kCacheLineBytes) BeatHistogram dispatch;  // how long firing took
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::int64_t>::is_always_lock_free);

}  // namespace stem::shm
