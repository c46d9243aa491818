#include "shm/blocks.hpp"

#include <algorithm>

#include "shm/shuffled.hpp"

namespace stem::shm {
namespace {

std::uint32_t class_for(std::uint32_t bytes) {
  for (std::uint32_t c = 0; c < kBlockClasses; ++c)
    if (bytes + sizeof(BlockHeader) <= kBlockStride[c]) return c;
  return kBlockClasses;
}

// What most payloads fill.
void fetch_to_fill(const BlockHeader* block) noexcept {
  constexpr int kLines = 4;
  for (int line = 0; line < kLines; ++line) prefetch_write(block + line);
}

}  // namespace

Blocks::Blocks(Segment& segment) : segment_(segment) {}

Ring& Blocks::ring(std::uint32_t block_class) noexcept {
  Ring& r = rings_[block_class];
  if (!r) {
    const std::uint64_t bytes = (ring_bytes(kBlockRingLog2) + kPageBytes - 1) / kPageBytes * kPageBytes;
    const Offset at = segment_.layout().block_rings + block_class * bytes;
    // Without memory for hints blocks still come from superblocks; the view stays empty and is retried.
    if (segment_.commit(at, bytes)) r = Ring(segment_.at<RingHeader>(at), kBlockRingLog2);
  }
  return r;
}

BlockId Blocks::fresh(std::uint32_t block_class) noexcept {
  const std::uint32_t capacity = kPerSuperblock[block_class];
  const auto used = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      segment_.header().superblocks_used.load(std::memory_order_acquire), segment_.layout().superblock_count));
  // The superblock used last, then any other of this class with room, then a new one.
  for (std::uint32_t look = 0; look <= used; ++look) {
    const std::uint32_t index = look == 0 ? last_superblock_[block_class] : look - 1;
    if (index >= used) continue;
    SuperblockRow& row = superblock(index);
    if (row.block_class.load(std::memory_order_acquire) != block_class + 1) continue;
    std::uint32_t next = row.blocks_used.load(std::memory_order_acquire);
    while (next < capacity) {
      const BlockId id = index << kIndexBits | next;
      // Several at a time: committing is a system call. Killed after the count has moved, the rest are free blocks
      // without a hint, which the patrol offers again.
      auto n = std::clamp(kFreshBytes / kBlockStride[block_class], 1u, capacity - next);
      const Offset at = segment_.offset_of(place(id, block_class));
      if (!segment_.commit(at, std::uint64_t{n} * kBlockStride[block_class])) {
        n = 1;  // the last of the memory
        if (!segment_.commit(at, kBlockStride[block_class])) return kNoBlock;
      }
      if (row.blocks_used.compare_exchange_weak(next, next + n, std::memory_order_acq_rel)) {
        last_superblock_[block_class] = index;
        auto& local = local_[block_class];
        shuffled(n, [&](std::uint64_t i) { local.push_back(id + static_cast<BlockId>(i)); });
        const BlockId first = local.back();
        local.pop_back();
        return first;
      }
    }
  }
  auto& count = segment_.header().superblocks_used;
  for (std::uint64_t index = 0; index < segment_.layout().superblock_count; ++index) {
    SuperblockRow& row = superblock(static_cast<std::uint32_t>(index));
    std::uint32_t unused = 0;
    if (row.block_class.load(std::memory_order_acquire) != 0 ||
        !row.block_class.compare_exchange_strong(unused, block_class + 1, std::memory_order_acq_rel))
      continue;
    std::uint64_t seen = count.load(std::memory_order_acquire);
    while (seen < index + 1 && !count.compare_exchange_weak(seen, index + 1, std::memory_order_acq_rel)) {
    }
    last_superblock_[block_class] = static_cast<std::uint32_t>(index);
    return fresh(block_class);
  }
  return kNoBlock;
}

BlockId Blocks::take(std::uint32_t bytes, std::uint32_t slot, std::uint64_t generation, BlockKind kind) noexcept {
  const std::uint32_t block_class = class_for(bytes);
  if (block_class == kBlockClasses) return kNoBlock;
  const std::uint64_t tag = block_tag(slot, generation, kind);
  do {
    for (auto& local = local_[block_class]; !local.empty();) {
      const BlockId id = local.back();
      local.pop_back();
      // The next one's lines come while this one is being filled.
      if (!local.empty()) fetch_to_fill(place(local.back(), block_class));
      if (claim(id, tag)) return id;
    }
  } while (refill(block_class));
  for (BlockId id = fresh(block_class); id != kNoBlock; id = fresh(block_class))
    if (claim(id, tag)) return id;
  return scan(block_class, tag);
}

// Several hints at once, so that their lines come together. Killed with them, the blocks are free without a hint, which
// the patrol offers again; who peeked at the same ones at the same time finds a block taken, or takes it.
bool Blocks::refill(std::uint32_t block_class) noexcept {
  Ring& r = ring(block_class);
  if (!r) return false;
  const std::uint32_t most = std::clamp(kLocalBytes / kBlockStride[block_class], 1u, kRefill);
  auto& local = local_[block_class];
  const std::uint64_t head = r.head();
  HintCell cell;
  while (local.size() < most && r.peek(head + local.size(), cell)) {
    local.push_back(cell.tag() << 24 | cell.slot());
    prefetch_write(place(local.back(), block_class));
  }
  r.advance_head(head, head + local.size());
  return !local.empty();
}

bool Blocks::spare(BlockId id, std::uint64_t tag) const noexcept {
  const std::uint32_t slot = tag_slot(tag);
  if (tag_kind(tag) != BlockKind::kPayload || slot >= segment_.geometry().slot_count) return false;
  const Descriptor& d = segment_.descriptor(slot);
  return kept_with(d, d.control.load(), tag, id);
}

// No hint and nothing unused: free blocks whose hints others keep for themselves, or died with, or that lie
// with free slots. A bounded stretch per call, so that a full arena costs little.
BlockId Blocks::scan(std::uint32_t block_class, std::uint64_t tag) noexcept {
  const auto used = std::min<std::uint64_t>(segment_.header().superblocks_used.load(std::memory_order_acquire),
                                            segment_.layout().superblock_count);
  std::uint32_t wraps = 0;
  for (std::uint32_t looks = 0; looks < kScanBlocks && wraps < 2; ++looks) {
    const auto index = static_cast<std::uint32_t>(scan_hand_ >> kIndexBits);
    const auto block = static_cast<std::uint32_t>(scan_hand_ & kIndexMask);
    if (index >= used) {
      scan_hand_ = 0;
      ++wraps;
      continue;
    }
    const SuperblockRow& row = superblock(index);
    if (row.block_class.load(std::memory_order_acquire) != block_class + 1 ||
        block >= std::min(row.blocks_used.load(std::memory_order_acquire), kPerSuperblock[block_class])) {
      scan_hand_ = (std::uint64_t{index} + 1) << kIndexBits;
      continue;
    }
    ++scan_hand_;
    const BlockId id = index << kIndexBits | block;
    const BlockHeader* h = header(id);
    if (h == nullptr) continue;
    const std::uint64_t was = h->tag.load(std::memory_order_acquire);
    if (was == 0 ? claim(id, tag) : spare(id, was) && retag(id, was, tag)) return id;
  }
  return kNoBlock;
}

void Blocks::offer(BlockId id, std::uint32_t block_class) noexcept {
  auto& local = local_[block_class];
  if (local.size() < std::min(kLocalHints, kLocalBytes / kBlockStride[block_class])) {
    local.push_back(id);
    return;
  }
  // The hint cell's tag field carries the upper bits of the block id.
  Ring& r = ring(block_class);
  if (r && !r.push(id >> 24, id & (kMaxSlots - 1))) return;  // no room: the patrol will offer it again
}

void Blocks::give_back(BlockId id, std::uint32_t slot, std::uint64_t generation, BlockKind kind) noexcept {
  BlockHeader* h = header(id);
  if (h == nullptr) return;
  std::uint64_t tag = block_tag(slot, generation, kind);
  // order(block.give): release; our last reads of the block come before its next life.
  if (!h->tag.compare_exchange_strong(tag, 0, std::memory_order_acq_rel)) return;
  const std::uint32_t block_class = superblock(id >> kIndexBits).block_class.load(std::memory_order_acquire) - 1;
  if (block_class < kBlockClasses) offer(id, block_class);
}

// A definition that its row still names, or that is on its way there. Its writer may have been killed before he
// could change the tag: that is done here, and a block is never taken from a row.
bool Blocks::belongs_to_schedule(BlockId id, std::uint64_t tag) const noexcept {
  const std::uint32_t rows = segment_.schedule_total();
  if (tag_kind(tag) == BlockKind::kSchedule) {
    const std::uint32_t row = tag_slot(tag);
    if (row >= rows) return false;
    const DefinitionWord word(segment_.schedule(row).definition.load(std::memory_order_acquire));
    return word.has_entry() && word.block() == id;
  }
  if (rows == 0) return false;
  // The directory first: what leaves it is in a row by then.
  const DirectoryWord directory(segment_.schedules().directory.load(std::memory_order_acquire));
  if (directory.open() && directory.block() == id) return true;
  for (std::uint32_t row = 0; row < rows; ++row) {
    const DefinitionWord word(segment_.schedule(row).definition.load(std::memory_order_acquire));
    if (!word.has_entry() || word.block() != id) continue;
    header(id)->tag.compare_exchange_strong(tag, block_tag(row, word.version(), BlockKind::kSchedule),
                                            std::memory_order_acq_rel);
    return true;
  }
  return false;
}

bool Blocks::orphaned(BlockId id, std::uint64_t tag) const noexcept {
  if (tag_kind(tag) == BlockKind::kFilling) return !may_fill(segment_, tag) && !belongs_to_schedule(id, tag);
  if (tag_kind(tag) == BlockKind::kSchedule) return !belongs_to_schedule(id, tag);
  if (tag_slot(tag) >= segment_.geometry().slot_count) return false;  // nonsense: `verify` reports it
  const ControlWord word = segment_.descriptor(tag_slot(tag)).control.load();
  const bool live = word.generation() == tag_generation(tag) && word.state() != State::kFree;
  // A generation ahead of the slot's cannot be; one behind, or a free slot, is an orphan.
  return !live && tag_generation(tag) <= word.generation() && !spare(id, tag);
}

bool Blocks::patrol(std::uint64_t& cursor, std::uint32_t stretch, std::uint64_t& freed) noexcept {
  const auto used = std::min<std::uint64_t>(segment_.header().superblocks_used.load(std::memory_order_acquire),
                                            segment_.layout().superblock_count);
  for (; stretch > 0; --stretch) {
    const auto index = static_cast<std::uint32_t>(cursor >> kIndexBits);
    if (index >= used) {
      cursor = 0;
      return true;
    }
    SuperblockRow& row = superblock(index);
    const std::uint32_t block_class = row.block_class.load(std::memory_order_acquire) - 1;
    const auto block = static_cast<std::uint32_t>(cursor & kIndexMask);
    if (block_class >= kBlockClasses ||
        block >= std::min(row.blocks_used.load(std::memory_order_acquire), kPerSuperblock[block_class])) {
      cursor = (std::uint64_t{index} + 1) << kIndexBits;
      continue;
    }
    ++cursor;
    const BlockId id = index << kIndexBits | block;
    BlockHeader* h = header(id);
    if (h == nullptr) continue;  // its superblock's row makes no sense any more
    std::uint64_t tag = h->tag.load(std::memory_order_acquire);
    if (tag_kind(tag) == BlockKind::kFree) {
      // Free: offered again only when its class has run out of hints.
      Ring& r = ring(block_class);
      if (r && r.empty() && !r.push(id >> 24, id & (kMaxSlots - 1))) continue;
      continue;
    }
    if (!orphaned(id, tag)) continue;
    if (h->tag.compare_exchange_strong(tag, 0, std::memory_order_acq_rel)) {
      ++freed;
      offer(id, block_class);
    }
  }
  return false;
}

}  // namespace stem::shm
