// A run: up to fifteen small plain tasks that were enqueued together under one control word. One claim makes
// a worker the owner of all of them; each is acknowledged by itself.
//
// The tasks ("items") lie side by side in one payload block; how many there are and how long each is stands
// in the descriptor's inline area. Which of them are over stands in the mask word, which for a run is the
// descriptor's due word (a run is never delayed):
//
//   63 .. 44 low bits of the generation (20) | 43 .. 32 grant (12)
//   31 .. 16 moved: bit i = item i + 1 has moved out | 15 .. 0 over: bit i = item i + 1 was acknowledged
//
// An acknowledgement is one CAS that sets the item's bit and names generation and grant. Who claims the run
// first lifts the mask word to its own grant; from then on every earlier holder is refused. A bit is set
// once, so of all executions of an item exactly one acknowledgement succeeds.
//
// Acknowledgements of quick items may share that CAS (Engine::succeed_later): until then they stand in the
// holder's roster row (RosterRow::acked), a plain store each. Whoever takes the run from a holder carries
// them over: as a value of the tally word of the next grant, which the next claimer merges into the mask in
// the change that lifts it, and counts. So an item whose end was recorded does not run again, and nobody
// but who sets a bit counts it.
//
// An item with a fate of its own (retry, snooze, dead letter, a crashed process) moves out: it becomes a
// task in a slot of its own. The copy is made first and waits; the item's moved bit is what turns it from
// nothing into the task, in one change; then it becomes ready. So there is no moment at which both or
// neither would run: a waiting copy whose item is acknowledged, or whose run ended without it having moved,
// is dropped, one whose item has moved is let go (by the patrol, or by whoever ends the run).
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "engine/task.hpp"
#include "shm/layout.hpp"
#include "shm/transitions.hpp"

namespace stem::engine {

inline constexpr std::uint32_t kRunItems = 15;  // fill a block of 1 KiB
inline constexpr std::uint32_t kRunItemBytes = 64;
inline constexpr std::uint32_t kRunLeast = 4;  // fewer are not worth a block
static_assert(kRunItems * kRunItemBytes + sizeof(shm::BlockHeader) <= shm::kBlockStride[1]);

// The inline area of a run's descriptor. W: the producer while kAlloc.
struct RunHead {
  std::uint8_t count;
  std::uint8_t bytes[kRunItems];
};
static_assert(sizeof(RunHead) == 16 && offsetof(RunHead, count) == 0);

// The unique key of the copy of an item that moves out: there is one at a time.
std::uint64_t moved_key(std::uint64_t item_handle) noexcept;

// A run whose items this engine runs: its own copy, checked once. Private to an engine.
struct HeldRun {
  static constexpr std::uint64_t kNothing = ~std::uint64_t{0};
  std::uint64_t serial = kNothing;  // of the copy; a view that was read from it names it
  std::uint32_t slot = ~0u;
  std::uint32_t count = 0;
  shm::ControlWord word;
  const shm::ControlCell* control = nullptr;  // of the slot
  std::uint64_t handle = 0;                   // TaskId::handle of the run; an item's is by its number higher
  std::uint64_t nothing_acked = 0;            // acked_word() of no item
  std::uint32_t all = 0;                      // a bit for each item
  std::uint32_t gone = 0;                     // items that are over or moved, in the mask word
  std::uint32_t moved = 0;                    // of these, the moved ones
  std::uint32_t acked = 0;                    // succeeded, in our roster row, not in the mask word yet
  std::uint32_t queue = 0;
  std::uint32_t task = 0;
  std::int64_t enqueued_ns = 0;
  std::uint16_t max_retries = 0;
  std::uint8_t priority = 0;
  std::uint8_t flags = 0;
  bool limited = false;     // begin() has to look at limits
  std::uint32_t begun = 0;  // items begun at begun_ns whose wait is not recorded yet
  std::int64_t begun_ns = 0;
  RunHead head{};
  alignas(64) std::byte items[kRunItems * kRunItemBytes];

  // Items of a run that comes after the next one, one line each: asked for one by one while these are looked at, since
  // a core has only so many lines on their way at once. Only looked at ahead of time; these items when none is known.
  const std::byte* coming = items;
  bool is_of(const Lease& lease) const noexcept { return slot == lease.slot && word == lease.word; }
  bool has_ended(std::uint32_t item) const noexcept { return ((gone | acked) >> (item - 1) & 1) != 0; }
};
inline constexpr std::uint32_t kHeldRuns = 8;  // by slot; a collision costs a reload, nothing else

class MaskWord {
 public:
  constexpr explicit MaskWord(std::uint64_t bits) : bits_(bits) {}
  constexpr MaskWord(std::uint64_t generation, std::uint32_t grant, std::uint32_t moved, std::uint32_t over)
      : bits_((generation & kTagMask) << 44 | std::uint64_t{grant & shm::kMaxGrant} << 32 |
              std::uint64_t{moved & 0xffff} << 16 | (over & 0xffff)) {}
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr bool of(std::uint64_t generation) const { return bits_ >> 44 == (generation & kTagMask); }
  constexpr std::uint32_t grant() const { return static_cast<std::uint32_t>(bits_ >> 32) & shm::kMaxGrant; }
  constexpr std::uint32_t moved() const { return static_cast<std::uint32_t>(bits_ >> 16) & 0xffff; }
  constexpr std::uint32_t over() const { return static_cast<std::uint32_t>(bits_) & 0xffff; }
  constexpr std::uint32_t gone() const { return moved() | over(); }  // not the run's any more
  constexpr MaskWord under(std::uint32_t grant) const {
    return MaskWord((bits_ & ~(std::uint64_t{shm::kMaxGrant} << 32)) | std::uint64_t{grant & shm::kMaxGrant} << 32);
  }

 private:
  static constexpr std::uint64_t kTagMask = (1u << 20) - 1;
  std::uint64_t bits_;
};

constexpr std::uint32_t item_bit(std::uint32_t item) { return 1u << (item - 1); }
constexpr std::uint32_t full_mask(std::uint32_t count) { return (1u << count) - 1; }

// Items of the run in `d` that are not over, as bits; 0 when the head makes no sense. The caller looks at
// the control word again before it believes the answer.
inline std::uint32_t run_pending(const shm::Descriptor& d, shm::ControlWord word) noexcept {
  const auto count = static_cast<std::uint32_t>(d.inline_payload[0]);
  const MaskWord mask(d.due.load(std::memory_order_acquire));
  if (count == 0 || count > kRunItems) return 0;
  const std::uint32_t gone = mask.of(word.generation()) ? mask.gone() : 0;
  return full_mask(count) & ~gone;
}

// Items that the last holder of a run had over without having committed them. Of a run the tally word of a
// grant above the first says that, nothing else.
inline std::uint32_t carried_over(const shm::Descriptor& d, std::uint32_t grant) noexcept {
  const shm::TaggedWord word(d.tally[grant % 2].load(std::memory_order_acquire));
  return grant != 0 && word.grant() == grant ? static_cast<std::uint32_t>(word.value()) & full_mask(kRunItems) : 0;
}

inline bool is_run(const shm::Descriptor& d) noexcept { return (d.flags & shm::kIsRun) != 0; }

// How many tasks a slot stands for.
inline std::uint32_t tasks_in(const shm::Descriptor& d, shm::ControlWord word) noexcept {
  return is_run(d) ? static_cast<std::uint32_t>(std::popcount(run_pending(d, word))) : 1;
}

}  // namespace stem::engine
