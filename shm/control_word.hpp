// The control word: the one 64-bit word of a slot that is the truth about its task. Everything else that
// names the slot is a hint.
//
//   63 .................. 28 | 27 ...... 16 | 15 ...... 4 | 3 .. 0
//   generation (36)          | grant (12)   | owner (12)  | state (4)
//
// generation  +1 at FREE -> ALLOC: one life of the slot, one task.
// grant       +1 each time the task becomes runnable again: fences whoever held it before.
// owner       roster index + 1 of the participant that alone may write this word; 0 = nobody.
// All-zero is FREE of generation 0, so untouched memory is a valid empty slab.
#pragma once

#include <cstdint>

#include "shm/limits.hpp"

namespace stem::shm {

enum class State : std::uint8_t {
  kFree = 0,
  kAlloc = 1,        // in its owner's reserve, or being filled
  kReady = 2,        // runnable
  kDelayed = 3,      // runnable at its due time
  kWaiting = 4,      // held back until another task releases it
  kLeased = 5,       // held by a worker
  kSettling = 6,     // acknowledged; obligations remain, all of them idempotent
  kDone = 7,         // over; the result is kept until its time to live ends
  kRetiring = 8,     // being torn down
  kOutbox = 9,       // being forwarded by a gateway
  kDead = 10,        // dead letter
  kQuarantine = 11,  // its descriptor made no sense
};
inline constexpr int kStateCount = 12;

const char* to_string(State state) noexcept;

class ControlWord {
 public:
  constexpr ControlWord() = default;
  constexpr explicit ControlWord(std::uint64_t bits) : bits_(bits) {}
  constexpr ControlWord(std::uint64_t generation, std::uint32_t grant, std::uint32_t owner, State state)
      : bits_(generation << kGenerationShift | std::uint64_t{grant & kMaxGrant} << kGrantShift |
              std::uint64_t{owner} << kOwnerShift | static_cast<std::uint64_t>(state)) {}

  constexpr std::uint64_t bits() const { return bits_; }
  constexpr std::uint64_t generation() const { return bits_ >> kGenerationShift; }
  constexpr std::uint32_t grant() const { return static_cast<std::uint32_t>(bits_ >> kGrantShift) & kMaxGrant; }
  constexpr std::uint32_t owner() const {
    return static_cast<std::uint32_t>(bits_ >> kOwnerShift) & ((1u << kOwnerBits) - 1);
  }
  constexpr State state() const { return static_cast<State>(bits_ & 0xf); }
  constexpr bool legal_state() const { return (bits_ & 0xf) < kStateCount; }

  // The same life and grant in another state, owned by `owner` (0 = nobody).
  constexpr ControlWord with(State state, std::uint32_t owner) const { return {generation(), grant(), owner, state}; }
  // The next grant: whoever held this one is refused from now on.
  constexpr ControlWord regrant(State state) const { return {generation(), grant() + 1, 0, state}; }
  static constexpr std::uint64_t kLastGeneration = (std::uint64_t{1} << kGenerationBits) - 1;
  // The next life, in the hands of `owner`; there is none after the last generation.
  constexpr ControlWord next_life(std::uint32_t owner) const { return {generation() + 1, 0, owner, State::kAlloc}; }

  friend constexpr bool operator==(ControlWord, ControlWord) = default;

 private:
  static constexpr int kOwnerShift = kStateBits;
  static constexpr int kGrantShift = kOwnerShift + kOwnerBits;
  static constexpr int kGenerationShift = kGrantShift + kGrantBits;

  std::uint64_t bits_ = 0;
};

// A word that is meaningful only for one grant of the task: written by CAS, ignored when the tag differs.
//   63 ... 52 grant (12) | 51 ... 0 value (52)
class TaggedWord {
 public:
  static constexpr std::uint64_t kValueMask = (std::uint64_t{1} << 52) - 1;
  constexpr TaggedWord() = default;
  constexpr explicit TaggedWord(std::uint64_t bits) : bits_(bits) {}
  constexpr TaggedWord(std::uint32_t grant, std::uint64_t value)
      : bits_(std::uint64_t{grant & kMaxGrant} << 52 | (value & kValueMask)) {}
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr std::uint32_t grant() const { return static_cast<std::uint32_t>(bits_ >> 52); }
  constexpr std::uint64_t value() const { return bits_ & kValueMask; }

 private:
  std::uint64_t bits_ = 0;
};

// Deliveries so far, kept per grant in Descriptor::tally[grant % 2].
//   51 ... 36 attempts (16) | 35 ... 24 process deaths (12) | 23 rate paid (1) | 22 ... 0 free releases (23)
struct Tally {
  std::uint32_t attempts = 0;  // executions that were started and used an attempt
  std::uint32_t deaths = 0;    // of these, how many ended in the death of the process
  std::uint32_t releases = 0;  // given back without using an attempt
  bool rate_paid = false;      // its token of the rate limits was taken; it only waits for its time

  constexpr std::uint64_t pack() const {
    return std::uint64_t{attempts & 0xffffu} << 36 | std::uint64_t{deaths & 0xfffu} << 24 |
           std::uint64_t{rate_paid} << 23 | (releases & 0x7fffffu);
  }
  static constexpr Tally unpack(std::uint64_t value) {
    return {static_cast<std::uint32_t>(value >> 36) & 0xffffu, static_cast<std::uint32_t>(value >> 24) & 0xfffu,
            static_cast<std::uint32_t>(value) & 0x7fffffu, (value >> 23 & 1) != 0};
  }
};

}  // namespace stem::shm
