#include "engine/lanes.hpp"

#include <bit>

namespace stem::engine {

using shm::HintCell;
using shm::Ring;
using shm::RingHeader;
using shm::RingRef;

Lanes::Lanes(shm::Segment& segment) : segment_(segment), queues_(segment.geometry().queue_count) {}

void Lanes::select(std::uint32_t id) {
  if (!queues_[id]) queues_[id] = std::make_unique<Queue>();
  last_ = queues_[id].get();
  last_id_ = id;
}

bool Lanes::view(std::uint64_t bits, Ring& ring) const noexcept {
  const RingRef ref(bits);
  const auto& l = segment_.layout();
  const std::uint64_t end = l.rings + segment_.geometry().ring_bytes;
  // The reference comes from shared memory: it must lie inside the ring section.
  if (!ref || ref.capacity_log2() > shm::kSlotBits || ref.offset() < l.rings ||
      ref.offset() + shm::ring_bytes(ref.capacity_log2()) > end)
    return false;
  ring = Ring(segment_.at<RingHeader>(ref.offset()), ref.capacity_log2());
  return true;
}

std::uint64_t Lanes::ring_ref(std::uint32_t id, std::uint32_t priority) const noexcept {
  // order(lane.ring): seq_cst; pairs with the change in grow(). Who clears the mark and then looks at an older ring, or
  // pushes into one that has been drained and unlinked, would leave the hint in the other ring to nobody.
  return segment_.queue(id).rings[priority].load(std::memory_order_seq_cst);
}

Ring& Lanes::current(Queue& q, std::uint32_t id, std::uint32_t priority) noexcept {
  Lane& lane = q.lanes[priority];
  const std::uint64_t ref = ring_ref(id, priority);
  if (ref != lane.ref) [[unlikely]] {
    lane.ref = ref;
    if (!view(ref, lane.ring)) lane.ring = Ring();
  }
  return lane.ring;
}

void Lanes::mark(std::uint32_t id, std::uint32_t priority) noexcept {
  auto& lanes = segment_.queue(id).lanes;
  const std::uint64_t bit = std::uint64_t{1} << priority;
  // order(lane.mark): seq_cst; pairs with mark_empty(): either the claimer sees the hint, or the pusher
  // sees the cleared mark and sets it again.
  if ((lanes.load(std::memory_order_seq_cst) & bit) == 0) lanes.fetch_or(bit, std::memory_order_seq_cst);
}

void Lanes::push(std::uint32_t id, std::uint32_t priority, std::uint64_t generation, std::uint32_t slot) noexcept {
  Queue& q = queue(id);
  for (int attempt = 0; attempt < 32; ++attempt) {
    Ring& ring = current(q, id, priority);
    const std::uint64_t ref = q.lanes[priority].ref;
    if (!ring || !ring.push(generation, slot)) {
      if (!grow(id, priority, ref)) break;
      continue;
    }
    // Replaced meanwhile: the old ring may be unlinked already, so say it again in the new one.
    if (ring_ref(id, priority) == ref) break;
  }
  mark(id, priority);
}

void Lanes::push_many(std::uint32_t id, std::uint32_t priority, const HintCell* hints, std::uint32_t count) noexcept {
  Queue& q = queue(id);
  Ring& ring = current(q, id, priority);
  const std::uint64_t ref = q.lanes[priority].ref;
  std::uint32_t done = ring ? ring.push_many(hints, count) : 0;
  if (done > 0 && ring_ref(id, priority) != ref) done = 0;
  for (; done < count; ++done) push(id, priority, hints[done].tag(), hints[done].slot());
  mark(id, priority);
}

bool Lanes::grow(std::uint32_t id, std::uint32_t priority, std::uint64_t full) noexcept {
  auto& where = segment_.queue(id).rings[priority];
  if (where.load(std::memory_order_acquire) != full) return true;  // somebody else was quicker
  const auto most = static_cast<std::uint32_t>(std::bit_width(std::uint64_t{segment_.geometry().slot_count} - 1));
  std::uint32_t log2 = full == 0 ? shm::kFirstRingLog2 : RingRef(full).capacity_log2() + shm::kRingGrowthLog2;
  if (full != 0 && RingRef(full).capacity_log2() >= most) return false;
  log2 = std::min(log2, std::max(most, shm::kFirstRingLog2));

  RingRef fresh;
  if (spare_ && spare_.capacity_log2() == log2) {
    fresh = spare_;
    spare_ = RingRef();
  } else {
    const std::uint64_t bytes = shm::ring_bytes(log2);
    auto& used = segment_.header().ring_used_bytes;
    std::uint64_t at = used.load(std::memory_order_acquire);
    do {
      if (at + bytes > segment_.geometry().ring_bytes) return false;
    } while (!used.compare_exchange_weak(at, at + bytes, std::memory_order_acq_rel));
    // Killed here: a region that nobody refers to; `verify` counts it. One per such death at most.
    if (!segment_.commit(segment_.layout().rings + at, bytes)) return false;
    fresh = RingRef(segment_.layout().rings + at, log2);
  }
  auto* header = segment_.at<RingHeader>(fresh.offset());
  header->capacity_log2 = log2;
  header->previous.store(full, std::memory_order_release);
  std::uint64_t expected = full;
  // order(lane.ring): seq_cst; see ring_ref().
  if (!where.compare_exchange_strong(expected, fresh.bits, std::memory_order_seq_cst, std::memory_order_relaxed))
    spare_ = fresh;
  return true;
}

Ring* Lanes::oldest(std::uint32_t id, std::uint32_t priority) noexcept {
  Queue& q = queue(id);
  Ring& ring = current(q, id, priority);
  if (!ring) return nullptr;
  // Rings that were replaced are drained first, oldest last in the chain; a chain is short (each is at
  // least twice its predecessor).
  RingHeader* newer = ring.header();
  std::uint64_t ref = newer->previous.load(std::memory_order_acquire);
  if (ref == 0) [[likely]]
    return &ring;
  for (int depth = 0; depth < shm::kSlotBits && ref != 0; ++depth) {
    if (!view(ref, q.previous)) {
      newer->previous.store(0, std::memory_order_release);
      return &ring;
    }
    const std::uint64_t older = q.previous.header()->previous.load(std::memory_order_acquire);
    if (older != 0) {
      newer = q.previous.header();
      ref = older;
      continue;
    }
    if (!q.previous.empty()) return &q.previous;
    newer->previous.compare_exchange_strong(ref, 0, std::memory_order_acq_rel);
    return oldest(id, priority);
  }
  return &ring;
}

bool Lanes::mark_empty(std::uint32_t id, std::uint32_t priority) noexcept {
  // A mark that stands too long costs a look at an empty ring; one that is cleared and set again for every
  // task costs both sides a contended line. So it goes only after a while of emptiness.
  Lane& lane = queue(id).lanes[priority];
  if (++lane.empty_looks < kEmptyLooks) return true;
  lane.empty_looks = 0;
  return clear(id, priority);
}

bool Lanes::clear(std::uint32_t id, std::uint32_t priority) noexcept {
  auto& lanes = segment_.queue(id).lanes;
  const std::uint64_t bit = std::uint64_t{1} << priority;
  // order(lane.mark): seq_cst; see mark().
  lanes.fetch_and(~bit, std::memory_order_seq_cst);
  Ring* ring = oldest(id, priority);
  if (ring == nullptr || ring->empty()) return true;
  lanes.fetch_or(bit, std::memory_order_seq_cst);
  return false;
}

bool Lanes::has_hint(std::uint32_t id) noexcept {
  std::uint64_t lanes = segment_.queue(id).lanes.load(std::memory_order_acquire);
  for (; lanes != 0; lanes &= lanes - 1) {
    const auto priority = static_cast<std::uint32_t>(std::countr_zero(lanes));
    if (priority >= shm::kPriorities) return false;  // nonsense in the segment
    const Ring* ring = oldest(id, priority);
    shm::HintCell cell;
    if (ring == nullptr || !ring->peek(ring->head(), cell)) continue;
    if (cell.bits() != hinted_) fetch(cell.slot());  // its lines come while the caller reads the clock
    hinted_ = cell.bits();
    return true;
  }
  return false;
}

void Lanes::fetch(std::uint32_t slot) const noexcept {
  if (slot >= segment_.geometry().slot_count) return;
  shm::Descriptor& d = segment_.descriptor(slot);
  shm::prefetch_write(&d);
  shm::prefetch_read(d.inline_payload);
}

void Lanes::clear_marks(std::uint32_t id) noexcept {
  std::uint64_t lanes = segment_.queue(id).lanes.load(std::memory_order_acquire);
  for (; lanes != 0; lanes &= lanes - 1) {
    const auto priority = static_cast<std::uint32_t>(std::countr_zero(lanes));
    if (priority >= shm::kPriorities) return;
    const Ring* ring = oldest(id, priority);
    if (ring == nullptr || ring->empty()) (void)clear(id, priority);
  }
}

std::uint64_t Lanes::queued(std::uint32_t id) noexcept {
  Queue& q = queue(id);
  std::uint64_t total = 0;
  for (std::uint32_t p = 0; p < shm::kPriorities; ++p) {
    Ring& ring = current(q, id, p);
    if (!ring) continue;
    total += ring.size();
    Ring old;
    std::uint64_t ref = ring.header()->previous.load(std::memory_order_acquire);
    for (int depth = 0; depth < shm::kSlotBits && ref != 0 && view(ref, old); ++depth) {
      total += old.size();
      ref = old.header()->previous.load(std::memory_order_acquire);
    }
  }
  return total;
}

}  // namespace stem::engine
