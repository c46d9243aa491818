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
// An item with a fate of its own (retry, snooze, dead letter, a crashed process) moves out: it becomes a
// task in a slot of its own. The copy is made first and waits; the item's moved bit is what turns it from
// nothing into the task, in one change; then it becomes ready. So there is no moment at which both or
// neither would run: a waiting copy whose item is acknowledged, or whose run ended without it having moved,
// is dropped, one whose item has moved is let go (by the patrol, or by whoever ends the run).
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "engine/task.hpp"
#include "shm/layout.hpp"

namespace stem::engine {

inline constexpr std::uint32_t kRunItems = 15;        // fill a block of 1 KiB
inline constexpr std::uint32_t kRunItemBytes = 64;
inline constexpr std::uint32_t kRunLeast = 4;         // fewer are not worth a block
static_assert(kRunItems * kRunItemBytes + sizeof(shm::BlockHeader) <= shm::kBlockStride[1]);

// The inline area of a run's descriptor. W: the producer while kAlloc.
struct RunHead {
  std::uint8_t count;
  std::uint8_t bytes[kRunItems];
};
static_assert(sizeof(RunHead) == 16);

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

inline bool is_run(const shm::Descriptor& d) noexcept { return (d.flags & shm::kIsRun) != 0; }

// How many tasks a slot stands for.
inline std::uint32_t tasks_in(const shm::Descriptor& d, shm::ControlWord word) noexcept {
  return is_run(d) ? static_cast<std::uint32_t>(std::popcount(run_pending(d, word))) : 1;
}

}  // namespace stem::engine
