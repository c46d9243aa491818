// Every legal change of a control word, in one table. `ControlCell::change` is the only way to change a
// word and checks against it; `verify` and the tests read it too.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/check.hpp"
#include "shm/control_word.hpp"

namespace stem::shm {

// Bit `to` of row `from`.
inline constexpr std::uint16_t bit(State s) { return static_cast<std::uint16_t>(1u << static_cast<int>(s)); }

inline constexpr std::uint16_t kLegalNext[kStateCount] = {
    /* Free     */ bit(State::kAlloc),
    /* Alloc    */
    static_cast<std::uint16_t>(bit(State::kFree) | bit(State::kReady) | bit(State::kDelayed) | bit(State::kWaiting)),
    /* Ready    */
    static_cast<std::uint16_t>(bit(State::kLeased) | bit(State::kRetiring)),
    /* Delayed  */
    static_cast<std::uint16_t>(bit(State::kReady) | bit(State::kRetiring)),
    /* Waiting  */  // a restored task becomes what it was; one that is over with its result, by way of settling
    static_cast<std::uint16_t>(bit(State::kReady) | bit(State::kRetiring) | bit(State::kDelayed) | bit(State::kDead) |
                               bit(State::kSettling)),
    /* Leased   */
    static_cast<std::uint16_t>(bit(State::kFree) | bit(State::kReady) | bit(State::kDelayed) | bit(State::kSettling) |
                               bit(State::kDead) | bit(State::kDone) | bit(State::kOutbox) | bit(State::kQuarantine)),
    /* Settling */
    static_cast<std::uint16_t>(bit(State::kSettling) | bit(State::kDone) | bit(State::kFree) | bit(State::kDead)),
    /* Done     */ bit(State::kRetiring),
    /* Retiring */
    static_cast<std::uint16_t>(bit(State::kFree) | bit(State::kDone) | bit(State::kRetiring)),
    /* Outbox   */
    static_cast<std::uint16_t>(bit(State::kReady) | bit(State::kRetiring) | bit(State::kSettling) |
                               bit(State::kOutbox) | bit(State::kQuarantine)),
    /* Dead     */
    static_cast<std::uint16_t>(bit(State::kReady) | bit(State::kDelayed) | bit(State::kRetiring)),
    /* Quarantine */ bit(State::kRetiring),
};

constexpr bool legal(ControlWord from, ControlWord to) {
  if (!from.legal_state() || !to.legal_state()) return false;
  if ((kLegalNext[static_cast<int>(from.state())] & bit(to.state())) == 0) return false;
  if (from.state() == State::kFree) {
    return to.generation() == from.generation() + 1 && to.grant() == 0 && to.owner() != 0;
  }
  if (to.generation() != from.generation()) return false;
  const bool runnable_again = to.state() == State::kReady || to.state() == State::kDelayed;
  const bool was_granted =
      from.state() == State::kLeased || from.state() == State::kOutbox || from.state() == State::kDead;
  // Put off by a limit before its handler was started: nothing was done under this grant, so it may be given
  // again, and waiting uses none up.
  const bool put_off = from.state() == State::kLeased && to.state() == State::kDelayed && to.grant() == from.grant();
  if (runnable_again && was_granted) return put_off || to.grant() == from.grant() + 1;
  return to.grant() == from.grant() || to.state() == State::kFree;
}

// One control word in the segment.
class ControlCell {
 public:
  // order(control.read): acquire; pairs with the release of change(); makes what the writer of this
  // state wrote before it (payload, tagged words) visible.
  ControlWord load() const noexcept { return ControlWord(bits_.load(std::memory_order_acquire)); }

  // True while the word is what it was, after everything that was read before this call. For who has copied from a
  // descriptor and wants to believe it.
  // order(control.recheck): acquire fence between the copy and the look; an acquire load alone would let the copy be
  // read after it. Pairs with the fence in Participant::take_free(). (The thread sanitizer knows no fences; the copy is
  // no race by its rules, or is re-read under a change.)
  bool stands(ControlWord word) const noexcept {
#ifndef __SANITIZE_THREAD__
    std::atomic_thread_fence(std::memory_order_acquire);
#endif
    return load() == word;
  }

  // One CAS from the exact word that was read. False when somebody else changed it; `expected` then
  // holds what is there now.
  // order(control.change): acq_rel; release publishes the descriptor (pairs with control.read), acquire
  // takes the previous owner's stores; a release also orders a claim after the claimer's roster row.
  [[nodiscard]] bool change(ControlWord& expected, ControlWord next) noexcept {
    STEM_CHECK(legal(expected, next));
    std::uint64_t bits = expected.bits();
    const bool done =
        bits_.compare_exchange_strong(bits, next.bits(), std::memory_order_acq_rel, std::memory_order_acquire);
    if (!done) expected = ControlWord(bits);
    return done;
  }

 private:
  std::atomic<std::uint64_t> bits_{0};
};
static_assert(sizeof(ControlCell) == 8 && std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace stem::shm
