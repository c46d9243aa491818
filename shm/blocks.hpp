// Payload blocks: one contiguous piece of memory for what does not fit into a descriptor. Seven size
// classes, carved from superblocks on demand. A block's tag names the life of the slot it belongs to, so
// whether it is an orphan can be decided from the slot's control word alone, by anybody.
//
// One Blocks object per participant; not thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "shm/participant.hpp"
#include "shm/prefetch.hpp"

namespace stem::shm {

// Superblock << 14 | index within it.
using BlockId = std::uint32_t;
inline constexpr BlockId kNoBlock = ~0u;

constexpr std::uint64_t block_tag(std::uint32_t slot, std::uint64_t generation, BlockKind kind) {
  return generation << 28 | std::uint64_t{slot} << 4 | static_cast<std::uint64_t>(kind);
}
constexpr std::uint32_t tag_slot(std::uint64_t tag) { return static_cast<std::uint32_t>(tag >> 4) & (kMaxSlots - 1); }
constexpr std::uint64_t tag_generation(std::uint64_t tag) { return tag >> 28; }
constexpr BlockKind tag_kind(std::uint64_t tag) { return static_cast<BlockKind>(tag & 15); }

// True while the participant that a kFilling tag names may still write.
inline bool may_fill(const Segment& segment, std::uint64_t tag) noexcept {
  if (tag_slot(tag) >= segment.geometry().participant_count) return false;
  const std::uint64_t status = segment.row(tag_slot(tag)).status.load(std::memory_order_acquire);
  return row_incarnation(status) == tag_generation(tag) && row_state(status) != RowState::kFree;
}

// True when `id` lies with a slot that is free, or taken but not filled yet, to be used again by its next
// life. Until then anybody who finds no other block may take it.
inline bool kept_with(const Descriptor& d, ControlWord word, std::uint64_t tag, BlockId id) noexcept {
  const std::uint64_t lives = word.generation() - tag_generation(tag);
  return d.block == id + 1 &&
         ((word.state() == State::kFree && lives == 0) || (word.state() == State::kAlloc && lives == 1));
}

class Blocks {
 public:
  explicit Blocks(Segment& segment);

  // A block with room for `bytes`, tagged for this life of `slot`; kNoBlock when the arena or /dev/shm
  // is full. A process that dies right after leaves an orphan, which the patrol frees.
  BlockId take(std::uint32_t bytes, std::uint32_t slot, std::uint64_t generation, BlockKind kind) noexcept;
  // Hands a block over from one life of its slot to the next, by the owner of the next (see kept_with()).
  bool retag(BlockId id, std::uint64_t from, std::uint64_t to) noexcept {
    BlockHeader* h = header(id);
    // order(block.take): acq_rel, the previous life's stores are over before ours begin; and a release fence before
    // ours: who has copied any of them finds at the second look that its task's word has moved on.
    if (h == nullptr || !h->tag.compare_exchange_strong(from, to, std::memory_order_acq_rel)) return false;
#ifndef __SANITIZE_THREAD__
    std::atomic_thread_fence(std::memory_order_release);
#endif
    return true;
  }
  // Asks for the header's line of a block that is given back soon.
  void fetch(BlockId id) const noexcept {
    if (const BlockHeader* h = header(id)) prefetch_write(h);
  }
  // Frees the block if it still belongs to this life; idempotent.
  void give_back(BlockId id, std::uint32_t slot, std::uint64_t generation, BlockKind kind) noexcept;

  // The header, or null when the id (which may come from shared memory) does not name a used block.
  BlockHeader* header(BlockId id) const noexcept {
    const std::uint32_t index = id >> kIndexBits;
    if (index >= segment_.layout().superblock_count) return nullptr;
    const SuperblockRow& row = superblock(index);
    const std::uint32_t block_class = row.block_class.load(std::memory_order_acquire) - 1;
    // Beyond blocks_used there may be no memory behind the address.
    if (block_class >= kBlockClasses ||
        (id & kIndexMask) >= std::min(row.blocks_used.load(std::memory_order_acquire), kPerSuperblock[block_class]))
      return nullptr;
    return place(id, block_class);
  }
  // Where a block lies, used or not.
  BlockHeader* place(BlockId id, std::uint32_t block_class) const noexcept {
    const std::uint32_t index = id >> kIndexBits;
    return segment_.at<BlockHeader>(segment_.layout().blocks + index * kSuperblockBytes +
                                    std::uint64_t{id & kIndexMask} * kBlockStride[block_class]);
  }
  // The bytes of a block; empty when the id is bad or its tag is not the expected one.
  std::span<std::byte> bytes(BlockId id, std::uint64_t expected_tag) const noexcept {
    BlockHeader* h = header(id);
    if (h == nullptr || h->tag.load(std::memory_order_acquire) != expected_tag) return {};
    const std::uint32_t block_class = superblock(id >> kIndexBits).block_class.load(std::memory_order_acquire) - 1;
    if (block_class >= kBlockClasses) return {};
    return {reinterpret_cast<std::byte*>(h) + sizeof(BlockHeader), kBlockStride[block_class] - sizeof(BlockHeader)};
  }

  // One stretch of the patrol: frees orphans and offers free blocks without a hint again. `cursor` runs
  // over all blocks; returns true when it has come round. Counts what it freed in `freed`.
  bool patrol(std::uint64_t& cursor, std::uint32_t stretch, std::uint64_t& freed) noexcept;

 private:
  static constexpr int kIndexBits = 14;
  static constexpr std::uint32_t kIndexMask = (1u << kIndexBits) - 1;
  static_assert(kSuperblockBytes / kBlockStride[0] <= (1u << kIndexBits));
  static constexpr std::array<std::uint32_t, kBlockClasses> kPerSuperblock = [] {
    std::array<std::uint32_t, kBlockClasses> counts{};
    for (std::uint32_t c = 0; c < kBlockClasses; ++c)
      counts[c] = static_cast<std::uint32_t>(kSuperblockBytes / kBlockStride[c]);
    return counts;
  }();
  static constexpr std::uint32_t kLocalHints = 32;
  static constexpr std::uint32_t kLocalBytes = 32'768;  // per class: who frees must not hoard what others need
  static constexpr std::uint32_t kRefill = 16;          // hints taken out of the ring at once, when we have none
  static constexpr std::uint32_t kFreshBytes = 32'768;  // unused blocks are committed that many at a time
  static constexpr std::uint32_t kScanBlocks = 4096;    // looked at for free ones before a class counts as full

  SuperblockRow& superblock(std::uint32_t index) const noexcept {
    return segment_.at<SuperblockRow>(segment_.layout().superblock_rows)[index];
  }
  Ring& ring(std::uint32_t block_class) noexcept;
  BlockId fresh(std::uint32_t block_class) noexcept;
  BlockId scan(std::uint32_t block_class, std::uint64_t tag) noexcept;
  // A free block.
  bool claim(BlockId id, std::uint64_t tag) noexcept { return retag(id, 0, tag); }
  bool spare(BlockId id, std::uint64_t tag) const noexcept;
  bool orphaned(BlockId id, std::uint64_t tag) const noexcept;
  bool belongs_to_schedule(BlockId id, std::uint64_t tag) const noexcept;
  void offer(BlockId id, std::uint32_t block_class) noexcept;
  bool refill(std::uint32_t block_class) noexcept;

  Segment& segment_;
  Ring rings_[kBlockClasses];
  std::vector<BlockId> local_[kBlockClasses];
  std::uint32_t last_superblock_[kBlockClasses] = {};
  std::uint64_t scan_hand_ = 0;  // over all blocks of all superblocks
};

}  // namespace stem::shm
