#include "shm/layout.hpp"

#include <bit>

#include "base/histogram.hpp"
#include "base/random.hpp"
#include "shm/former_rows.hpp"

namespace stem::shm {
namespace {

constexpr std::uint64_t pages(std::uint64_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

}  // namespace

Layout make_layout(const Geometry& g) noexcept {
  Layout l{};
  Offset at = pages(sizeof(Header));
  const auto take = [&at](std::uint64_t bytes) {
    const Offset here = at;
    at += pages(bytes);
    return here;
  };
  constexpr std::uint64_t histogram_bytes = kHistogramRowBytes;
  l.subscription_words = (g.queue_count + 63) / 64;
  l.free_ring_log2 = static_cast<std::uint32_t>(std::bit_width(std::uint64_t{g.slot_count} - 1));
  l.superblock_count = static_cast<std::uint32_t>(g.block_bytes / kSuperblockBytes);

  l.queue_keys = take(std::uint64_t{g.queue_count} * 8);
  l.queues = take(std::uint64_t{g.queue_count} * sizeof(QueueRow));
  l.task_keys = take(std::uint64_t{g.task_count} * 8);
  l.tasks = take(std::uint64_t{g.task_count} * sizeof(TaskRow));
  l.roster = take(std::uint64_t{g.participant_count} * sizeof(RosterRow));
  l.subscriptions = take(g.participant_count * l.subscription_words * 8);
  l.counters = take(std::uint64_t{g.participant_count} * g.queue_count * sizeof(CounterRow));
  l.wait_histograms = take(std::uint64_t{g.participant_count} * g.queue_count * histogram_bytes);
  l.task_histograms = take(std::uint64_t{g.participant_count} * g.task_count * histogram_bytes);
  l.unique = take(std::uint64_t{g.unique_buckets} * sizeof(UniqueBucket));
  l.limiters = take(std::uint64_t{g.limiter_count} * sizeof(LimiterRow));
  l.limiter_calls = take((g.limiter_count + 63) / 64 * 8);  // a bit each: the gateway keeps this row
  l.superblock_rows = take(std::uint64_t{l.superblock_count} * sizeof(SuperblockRow));
  l.block_rings = take(kBlockClasses * pages(ring_bytes(kBlockRingLog2)));
  l.returns = take(std::uint64_t{g.participant_count} * sizeof(ReturnRing));
  l.inboxes = take(std::uint64_t{g.participant_count} * ring_bytes(kInboxLog2));
  l.free_ring = take(ring_bytes(l.free_ring_log2));
  l.delayed = take(ring_bytes(kDelayedRingLog2));
  l.slab = take(std::uint64_t{g.slot_count} * sizeof(Descriptor));
  l.rings = take(g.ring_bytes);
  at = (at + kSuperblockBytes - 1) / kSuperblockBytes * kSuperblockBytes;
  l.blocks = take(g.block_bytes);
  l.schedules = take(sizeof(ScheduleTable) + kScheduleRows * sizeof(ScheduleRow));
  l.journal = take(mark_bytes(g.slot_count));
  l.former = take(former_chunks(g.slot_count) * sizeof(FormerChunk));
  l.events = take(std::uint64_t{g.participant_count} * kEventCells * sizeof(EventCell));
  l.gateway = take(sizeof(GatewayFigures));
  l.total_bytes = at;
  return l;
}

std::uint64_t layout_signature() noexcept {
  std::uint64_t h = 0x5354454d;  // any constant
  const auto fold = [&h](std::uint64_t value) { h = base::mix64(h ^ value) + 0x9e3779b97f4a7c15ull; };
  fold(kLayoutVersion);
  fold(sizeof(Header));
  fold(sizeof(Descriptor));
  fold(offsetof(Descriptor, outcome));
  fold(sizeof(QueueRow));
  fold(sizeof(TaskRow));
  fold(sizeof(RosterRow));
  fold(offsetof(RosterRow, alive));
  fold(sizeof(pthread_mutex_t));
  fold(sizeof(CounterRow));
  fold(kCounterCount);
  fold(kHistogramRowBytes);
  fold(sizeof(UniqueBucket));
  fold(sizeof(LimiterRow));
  fold(sizeof(RingHeader));
  fold(sizeof(BlockHeader));
  fold(sizeof(ScheduleTable));
  fold(sizeof(ScheduleRow));
  for (const std::uint32_t stride : kBlockStride) fold(stride);
  fold(kPriorities);
  fold(kInlineBytes);
  fold(kMarkLineSlots);
  fold(sizeof(FormerChunk));
  fold(kEventCells * sizeof(EventCell));
  fold(sizeof(GatewayFigures));
  fold(kInboxLog2);
  fold(kReturnSlots << 16 | kDelayedRingLog2 << 8 | kBlockRingLog2);
  fold(kGenerationBits << 24 | kGrantBits << 16 | kOwnerBits << 8 | kStateBits);
  return h;
}

}  // namespace stem::shm
