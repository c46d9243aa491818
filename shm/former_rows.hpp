// Where the ids from before a reboot lie (engine/former.hpp): rows by slot, in chunks that get their memory as a whole,
// each with an index of its own. So an old id costs one bucket a chunk, at worst kFormerProbes, and no look at each row.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/random.hpp"
#include "shm/layout.hpp"

namespace stem::shm {

// Names a row of its chunk; 0 = none. A hint: the row itself says which ids it is of.
//   31 .. 13 more of the id's hash (19) | 12 .. 0 row + 1
class FormerEntry {
 public:
  constexpr explicit FormerEntry(std::uint32_t bits) : bits_(bits) {}
  constexpr FormerEntry(std::uint64_t hash, std::uint32_t row)
      : bits_(static_cast<std::uint32_t>(hash >> 45) << kRowBits | (row + 1)) {}
  constexpr std::uint32_t bits() const { return bits_; }
  constexpr std::uint32_t row() const { return (bits_ & ((1u << kRowBits) - 1)) - 1; }  // may be beyond the last
  constexpr bool of(std::uint64_t hash) const { return bits_ >> kRowBits == static_cast<std::uint32_t>(hash >> 45); }

 private:
  static constexpr int kRowBits = 13;
  std::uint32_t bits_;
};

inline constexpr std::uint32_t kFormerChunkRows = 4096;
inline constexpr std::uint32_t kFormerBuckets = 2048;  // of two ids a row each has four on the average
inline constexpr std::uint32_t kFormerWays = 16;       // a cache line
// Where a bucket is full its ids go to the next ones. Four hold sixteen on the average and have room for 64, so what
// finds none there does not happen by chance (one in 10^18); it is not found.
inline constexpr std::uint32_t kFormerProbes = 4;

struct FormerChunk {
  FormerRow rows[kFormerChunkRows];
  // FormerEntry; used from the front, and never empty again. W: the journal's writer. R: any.
  std::atomic<std::uint32_t> index[kFormerBuckets][kFormerWays];

  static std::uint64_t hash_of(std::uint32_t epoch, std::uint64_t handle) noexcept {
    return base::mix64(handle ^ base::mix64(epoch));
  }
  // The probe-th bucket for this hash.
  std::atomic<std::uint32_t>* bucket_of(std::uint64_t hash, std::uint32_t probe = 0) noexcept {
    return index[(hash + probe) % kFormerBuckets];
  }
};
static_assert(sizeof(FormerChunk) == kFormerChunkRows * sizeof(FormerRow) + kFormerBuckets * kFormerWays * 4);

constexpr std::uint64_t former_chunks(std::uint32_t slots) {
  return (std::uint64_t{slots} + kFormerChunkRows - 1) / kFormerChunkRows;
}

}  // namespace stem::shm
