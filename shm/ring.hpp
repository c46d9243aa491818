// A bounded MPMC ring of hints. A hint names a slot that probably is in the state the ring stands for;
// only the slot's control word says so. Hints may be lost, doubled or stale: latency suffers, nothing else.
//
// There are no tickets: a push *is* the CAS on the cell, the tail only follows and anyone may help it.
// A pop does not take: the caller looks at cells from the head on, claims the slots they name by their
// control words, and then moves the head past them. So a process killed at any instruction holds neither a
// cell nor a place, and nobody waits for it. (The cell-CAS kind of Tsigas & Zhang 2001 and Shann et al.
// 2000; ticket rings are forbidden here, see docs/protocol.md.)
//
//   cell: 63 .. 44 lap (20) | 43 .. 24 low bits of the generation (20) | 23 .. 0 slot (24)
//
// A cell is filled for position p when its lap equals lap_of(p). All-zero cells are empty, since laps start
// at one. A ring view is cheap, private to one thread, and keeps the last head it saw.
#pragma once

#include <atomic>
#include <cstdint>

#include "shm/layout.hpp"

namespace stem::shm {

class HintCell {
 public:
  static constexpr int kLapBits = 20;
  static constexpr int kTagBits = 20;
  static constexpr std::uint32_t kTagMask = (1u << kTagBits) - 1;

  constexpr HintCell() = default;
  constexpr explicit HintCell(std::uint64_t bits) : bits_(bits) {}
  constexpr HintCell(std::uint32_t lap, std::uint64_t generation, std::uint32_t slot)
      : bits_(std::uint64_t{lap} << 44 | (generation & kTagMask) << 24 | slot) {}
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr std::uint32_t lap() const { return static_cast<std::uint32_t>(bits_ >> 44); }
  constexpr std::uint32_t tag() const { return static_cast<std::uint32_t>(bits_ >> 24) & kTagMask; }
  constexpr std::uint32_t slot() const { return static_cast<std::uint32_t>(bits_) & (kMaxSlots - 1); }

 private:
  std::uint64_t bits_ = 0;
};

class Ring {
 public:
  Ring() = default;
  // `log2` comes from the caller's own copy of the geometry or a checked RingRef.
  Ring(RingHeader* header, std::uint32_t log2) noexcept
      : header_(header), log2_(log2), mask_((std::uint64_t{1} << log2) - 1) {}

  explicit operator bool() const noexcept { return header_ != nullptr; }
  RingHeader* header() const noexcept { return header_; }
  std::uint64_t capacity() const noexcept { return mask_ + 1; }

  // False when the ring is full (or has been so contended that the caller should treat it so): the hint
  // is not stored.
  [[nodiscard]] bool push(std::uint64_t generation, std::uint32_t slot) noexcept {
    for (int attempt = 0; attempt < kPushAttempts; ++attempt) {
      // order(ring.tail): acquire; pairs with the release that moved it, so that the cell is seen filled.
      const std::uint64_t tail = header_->tail.load(std::memory_order_acquire);
      if (tail - seen_head_ >= capacity() && static_cast<std::int64_t>(tail - seen_head_) > 0) {
        seen_head_ = header_->head.load(std::memory_order_acquire);
        if (static_cast<std::int64_t>(tail - seen_head_) >= static_cast<std::int64_t>(capacity())) return false;
      }
      std::atomic<std::uint64_t>& cell = header_->cells[tail & mask_];
      std::uint64_t was = cell.load(std::memory_order_acquire);
      // What `was` can be: (1) filled for this position: the pusher has not moved the tail yet, or died;
      // help. (2) filled for a later lap: our tail is old; look again. (3) anything older: ours to fill,
      // because the head has passed it (checked above).
      const std::int32_t ahead = lap_distance(HintCell(was).lap(), lap_of(tail));
      if (ahead == 0) {
        advance_tail(tail, tail + 1);
      } else if (ahead < 0) {
        if (fill(cell, was, HintCell(lap_of(tail), generation, slot))) {
          advance_tail(tail, tail + 1);
          return true;
        }
      }
    }
    return false;
  }

  // Pushes as many of `count` hints as fit side by side, moving the tail once; returns how many.
  std::uint32_t push_many(const HintCell* hints, std::uint32_t count) noexcept {
    std::uint64_t tail = header_->tail.load(std::memory_order_acquire);
    if (static_cast<std::int64_t>(tail + count - seen_head_) > static_cast<std::int64_t>(capacity()))
      seen_head_ = header_->head.load(std::memory_order_acquire);
    const auto room = static_cast<std::int64_t>(seen_head_ + capacity() - tail);
    std::uint32_t pushed = 0;
    while (pushed < count && static_cast<std::int64_t>(pushed) < room) {
      const std::uint64_t position = tail + pushed;
      std::atomic<std::uint64_t>& cell = header_->cells[position & mask_];
      std::uint64_t was = cell.load(std::memory_order_acquire);
      if (lap_distance(HintCell(was).lap(), lap_of(position)) >= 0) break;  // another pusher is here
      if (!fill(cell, was, HintCell(lap_of(position), hints[pushed].tag(), hints[pushed].slot()))) break;
      ++pushed;
    }
    if (pushed > 0) {
      advance_tail(tail, tail + pushed);
    }
    return pushed;
  }

  std::uint64_t head() const noexcept { return header_->head.load(std::memory_order_acquire); }
  std::uint64_t tail() const noexcept { return header_->tail.load(std::memory_order_acquire); }

  // Reads the cell at `position`; true when it is filled for it.
  bool peek(std::uint64_t position, HintCell& cell) const noexcept {
    cell = HintCell(header_->cells[position & mask_].load(std::memory_order_acquire));
    return cell.lap() == lap_of(position);
  }

  // Moves the head from `from` to `to`; all cells between were filled and are void now. When another
  // popper was quicker, nothing is lost: it passed the same cells.
  void advance_head(std::uint64_t from, std::uint64_t to) noexcept {
    // order(ring.head): seq_cst; pairs with empty(): a head from before this change, and a cell that was filled again
    // after it, would look like an empty ring. A failure means somebody else moved it on.
    header_->head.compare_exchange_strong(from, to, std::memory_order_seq_cst, std::memory_order_relaxed);
  }

  // Also for who has just said that he sleeps, or that nothing is here.
  bool empty() const noexcept {
    // order(ring.publish), order(ring.head): seq_cst both, after what the caller has said: either we see the hint, or
    // its pusher, who looks for that after his fill(), sees it.
    const std::uint64_t position = header_->head.load(std::memory_order_seq_cst);
    const HintCell cell(header_->cells[position & mask_].load(std::memory_order_seq_cst));
    return cell.lap() != lap_of(position);
  }

  // Hints between head and tail: an estimate of what is queued.
  std::uint64_t size() const noexcept {
    const auto distance = static_cast<std::int64_t>(tail() - head());
    return distance < 0 ? 0 : static_cast<std::uint64_t>(distance);
  }

 private:
  static constexpr int kPushAttempts = 1024;

  std::uint32_t lap_of(std::uint64_t position) const noexcept {
    return static_cast<std::uint32_t>((position >> log2_) + 1) & ((1u << HintCell::kLapBits) - 1);
  }

  // Signed distance from lap `b` to lap `a`, modulo 2^20.
  static std::int32_t lap_distance(std::uint32_t a, std::uint32_t b) noexcept {
    constexpr int kUnused = 32 - HintCell::kLapBits;
    return static_cast<std::int32_t>((a - b) << kUnused) >> kUnused;
  }

  static bool fill(std::atomic<std::uint64_t>& cell, std::uint64_t was, HintCell hint) noexcept {
    // order(ring.publish): release, pairs with the acquire in peek(): what led to the hint is visible
    // before it. Sequentially consistent, because a producer looks for sleepers and for its lane's mark right after
    // (sleep.announce, lane.mark); they look at the ring by empty().
    return cell.compare_exchange_strong(was, hint.bits(), std::memory_order_seq_cst, std::memory_order_relaxed);
  }

  void advance_tail(std::uint64_t from, std::uint64_t to) noexcept {
    // order(ring.tail): release; see push(). A failure means somebody else moved it on.
    header_->tail.compare_exchange_strong(from, to, std::memory_order_release, std::memory_order_relaxed);
  }

  RingHeader* header_ = nullptr;
  std::uint32_t log2_ = 0;
  std::uint64_t mask_ = 0;
  std::uint64_t seen_head_ = 0;
};

}  // namespace stem::shm
