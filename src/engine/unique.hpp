// Unique tasks: at most one live task per key. Exact, without a lock.
//
// A bucket of eight words: a turn word and seven entries (slot and generation of a holder). An insert
// first proposes itself in the turn word by CAS from the value it read before scanning, so no other insert
// can have happened in between; then anybody may carry the proposal into its entry and close the turn.
// A process killed anywhere leaves a proposal that the next one completes.
//
//   turn:  63 .. 49 count (15) | 48 .. 46 entry + 1 (3, 0 = none open) | 45 .. 24 generation (22) | 23 .. 0 slot
//   entry: 59 .. 24 generation (36) | 23 .. 0 slot; 0 = never used
//
// An entry holds its key while the slot is in that life, not over, and its time (unique_for) has not ended:
// nothing has to be released, and a dead holder's entry is simply stale.
#pragma once

#include <cstdint>

#include "shm/blocks.hpp"
#include "shm/segment.hpp"

namespace stem::engine {

enum class UniqueStatus : std::uint8_t { kAcquired, kHeld, kTableFull };

struct UniqueAnswer {
  UniqueStatus status = UniqueStatus::kAcquired;
  std::uint64_t holder = 0;  // handle of the task that has the key
};

class Unique {
 public:
  Unique(shm::Segment& segment, shm::Blocks& blocks) : segment_(segment), blocks_(blocks) {}

  // For a task that is filled (its extension carries `key`) and not yet published; or that is there already, and asks
  // whether anybody else has taken the key: whoever asks later finds it taken.
  UniqueAnswer acquire(std::uint64_t key, std::uint32_t slot, shm::ControlWord word, std::int64_t now_ns) noexcept;
  // Asks for the bucket of a key that is acquired soon; and, when that is here, for the tasks it names.
  void fetch(std::uint64_t key) const noexcept;
  void fetch_holders(std::uint64_t key) const noexcept;
  // The task that holds the key now; 0 = none.
  std::uint64_t holder(std::uint64_t key, std::int64_t now_ns) const noexcept;

 private:
  shm::UniqueBucket* place(std::uint64_t key) const noexcept;  // there may be no memory behind it
  shm::UniqueBucket* bucket(std::uint64_t key) const noexcept;
  bool holds(std::uint64_t entry, std::uint64_t key, bool any_key, std::int64_t now_ns) const noexcept;
  bool is_gone(std::uint32_t owner) const noexcept;
  bool unpublished(std::uint64_t entry) const noexcept;  // of an entry that holds
  void complete(shm::UniqueBucket& bucket, std::uint64_t turn) noexcept;

  shm::Segment& segment_;
  shm::Blocks& blocks_;
};

}  // namespace stem::engine
