// A run: up to fifteen small plain tasks that were enqueued together under one control word. One claim makes
// a worker the owner of all of them; each is acknowledged by itself.
//
// The tasks ("items") lie side by side in one payload block; how many there are and how long each is stands
// in the descriptor's inline area. Which of them are over stands in the mask word, which for a run is the
// descriptor's due word (a run is never delayed):
//
//   63 .. 28 generation (36) | 27 .. 16 grant (12) | 15 .. 0 mask: bit i = item i + 1 is over or has moved out
//
// An acknowledgement is one CAS that sets the item's bit and names generation and grant. Who claims the run
// first lifts the mask word to its own grant; from then on every earlier holder is refused. A bit is set
// once, so of all executions of an item exactly one acknowledgement succeeds.
//
// An item with a fate of its own (retry, snooze, dead letter, a crashed process) moves out: it becomes a
// task in a slot of its own, and its bit is set. A repeat after a kill in between finds the first copy by
// its unique key while that lives.
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
  constexpr MaskWord(std::uint64_t generation, std::uint32_t grant, std::uint32_t mask)
      : bits_(generation << 28 | std::uint64_t{grant & shm::kMaxGrant} << 16 | (mask & 0xffff)) {}
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr std::uint64_t generation() const { return bits_ >> 28; }
  constexpr std::uint32_t grant() const { return static_cast<std::uint32_t>(bits_ >> 16) & shm::kMaxGrant; }
  constexpr std::uint32_t mask() const { return static_cast<std::uint32_t>(bits_) & 0xffff; }

 private:
  std::uint64_t bits_;
};

constexpr std::uint32_t full_mask(std::uint32_t count) { return (1u << count) - 1; }

// Items of the run in `d` that are not over, as bits; 0 when the head makes no sense. The caller looks at
// the control word again before it believes the answer.
inline std::uint32_t run_pending(const shm::Descriptor& d, shm::ControlWord word) noexcept {
  const auto count = static_cast<std::uint32_t>(d.inline_payload[0]);
  const MaskWord mask(d.due.load(std::memory_order_acquire));
  if (count == 0 || count > kRunItems) return 0;
  const std::uint32_t over = mask.generation() == word.generation() ? mask.mask() : 0;
  return full_mask(count) & ~over;
}

inline bool is_run(const shm::Descriptor& d) noexcept { return (d.flags & shm::kIsRun) != 0; }

// How many tasks a slot stands for.
inline std::uint32_t tasks_in(const shm::Descriptor& d, shm::ControlWord word) noexcept {
  return is_run(d) ? static_cast<std::uint32_t>(std::popcount(run_pending(d, word))) : 1;
}

}  // namespace stem::engine
