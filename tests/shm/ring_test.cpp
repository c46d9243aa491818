#include "shm/ring.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "base/random.hpp"

namespace stem::shm {
namespace {

// A ring in ordinary memory.
class RingMemory {
 public:
  explicit RingMemory(std::uint32_t log2) : log2_(log2), bytes_(ring_bytes(log2)) {
    memory_ = std::aligned_alloc(kCacheLineBytes, (bytes_ + kCacheLineBytes - 1) / kCacheLineBytes * kCacheLineBytes);
    std::memset(memory_, 0, bytes_);
  }
  ~RingMemory() { std::free(memory_); }
  RingMemory(const RingMemory&) = delete;
  RingMemory& operator=(const RingMemory&) = delete;
  RingHeader& header() { return *static_cast<RingHeader*>(memory_); }
  Ring view() { return Ring(&header(), log2_); }
  // As if `position` hints had come and gone already.
  void start_at(std::uint64_t position) {
    header().head.store(position);
    header().tail.store(position);
    const std::uint64_t capacity = std::uint64_t{1} << log2_;
    for (std::uint64_t p = position - capacity; p != position; ++p) {
      const auto lap = static_cast<std::uint32_t>((p >> log2_) + 1) & ((1u << HintCell::kLapBits) - 1);
      header().cells[p & (capacity - 1)].store(HintCell(lap, 0, 0).bits());
    }
  }

 private:
  std::uint32_t log2_;
  std::size_t bytes_;
  void* memory_;
};

bool pop(Ring& ring, HintCell& cell) {
  const std::uint64_t head = ring.head();
  if (!ring.peek(head, cell)) return false;
  ring.advance_head(head, head + 1);
  return true;
}

TEST(HintCell, PacksAndUnpacks) {
  base::Random random(1);
  for (int i = 0; i < 10'000; ++i) {
    const auto lap = static_cast<std::uint32_t>(random.below(1u << HintCell::kLapBits));
    const std::uint64_t generation = random.next() >> 28;
    const auto slot = static_cast<std::uint32_t>(random.below(kMaxSlots));
    const HintCell cell(lap, generation, slot);
    ASSERT_EQ(cell.lap(), lap);
    ASSERT_EQ(cell.tag(), generation & HintCell::kTagMask);
    ASSERT_EQ(cell.slot(), slot);
  }
}

TEST(Ring, IsEmptyInZeroedMemory) {
  RingMemory memory(3);
  Ring ring = memory.view();
  HintCell cell;
  EXPECT_TRUE(ring.empty());
  EXPECT_EQ(ring.size(), 0u);
  EXPECT_FALSE(pop(ring, cell));
}

TEST(Ring, TakesItsCapacityAndRefusesOneMore) {
  RingMemory memory(3);
  Ring ring = memory.view();
  for (std::uint32_t i = 0; i < 8; ++i) ASSERT_TRUE(ring.push(100 + i, i));
  EXPECT_FALSE(ring.push(1, 1));
  EXPECT_EQ(ring.size(), 8u);
  HintCell cell;
  ASSERT_TRUE(pop(ring, cell));
  EXPECT_EQ(cell.slot(), 0u);
  EXPECT_EQ(cell.tag(), 100u);
  EXPECT_TRUE(ring.push(9, 9)) << "one place is free again";
  EXPECT_FALSE(ring.push(1, 1));
}

TEST(Ring, KeepsOrderOverManyLaps) {
  RingMemory memory(3);
  Ring ring = memory.view();
  std::uint32_t pushed = 0, popped = 0;
  base::Random random(5);
  while (popped < 10'000) {
    if (random.below(2) == 0 && ring.push(pushed, pushed % 1000)) ++pushed;
    HintCell cell;
    if (random.below(2) == 0 && pop(ring, cell)) {
      ASSERT_EQ(cell.slot(), popped % 1000);
      ++popped;
    }
  }
}

TEST(Ring, TheLapCounterMayWrap) {
  constexpr std::uint32_t kLog2 = 3;
  RingMemory memory(kLog2);
  // Some pushes before lap 2^20 begins anew.
  memory.start_at(((std::uint64_t{1} << HintCell::kLapBits) << kLog2) - 20);
  Ring ring = memory.view();
  for (std::uint32_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(ring.empty()) << i;
    ASSERT_TRUE(ring.push(i, i)) << i;
    HintCell cell;
    ASSERT_TRUE(pop(ring, cell)) << i;
    ASSERT_EQ(cell.slot(), i);
  }
  for (std::uint32_t i = 0; i < 8; ++i) ASSERT_TRUE(ring.push(i, i));
  EXPECT_FALSE(ring.push(1, 1));
}

TEST(Ring, AFullRingStaysFullAcrossTheWrap) {
  constexpr std::uint32_t kLog2 = 2;
  RingMemory memory(kLog2);
  memory.start_at(((std::uint64_t{1} << HintCell::kLapBits) << kLog2) - 6);
  Ring ring = memory.view();
  for (std::uint32_t i = 0; i < 40; ++i) {
    for (std::uint32_t k = 0; k < 4; ++k) ASSERT_TRUE(ring.push(k, k)) << i;
    ASSERT_FALSE(ring.push(9, 9)) << i;
    for (std::uint32_t k = 0; k < 4; ++k) {
      HintCell cell;
      ASSERT_TRUE(pop(ring, cell));
      ASSERT_EQ(cell.slot(), k);
    }
  }
}

TEST(Ring, APusherThatDiedBeforeTheTailIsHelped) {
  RingMemory memory(3);
  Ring ring = memory.view();
  ASSERT_TRUE(ring.push(1, 1));
  // What a push leaves behind when it is killed between cell and tail.
  memory.header().cells[1].store(HintCell(1, 2, 2).bits());
  ASSERT_TRUE(ring.push(3, 3));
  HintCell cell;
  for (std::uint32_t slot = 1; slot <= 3; ++slot) {
    ASSERT_TRUE(pop(ring, cell));
    EXPECT_EQ(cell.slot(), slot);
  }
}

TEST(Ring, ATailLeftFarBehindCatchesUp) {
  RingMemory memory(4);
  Ring ring = memory.view();
  for (std::uint32_t i = 0; i < 10; ++i) memory.header().cells[i].store(HintCell(1, i, i).bits());
  HintCell cell;
  for (std::uint32_t i = 0; i < 10; ++i) ASSERT_TRUE(pop(ring, cell)) << "a pop needs no tail";
  EXPECT_EQ(ring.size(), 0u) << "a head beyond the tail is no size";
  for (std::uint32_t i = 0; i < 16; ++i) ASSERT_TRUE(ring.push(i, 100 + i)) << i;
  EXPECT_FALSE(ring.push(1, 1));
  for (std::uint32_t i = 0; i < 16; ++i) {
    ASSERT_TRUE(pop(ring, cell));
    ASSERT_EQ(cell.slot(), 100 + i);
  }
}

TEST(Ring, PushManyStopsWhereTheRingIsFull) {
  RingMemory memory(3);
  Ring ring = memory.view();
  HintCell hints[12];
  for (std::uint32_t i = 0; i < 12; ++i) hints[i] = HintCell(0, i, i);
  EXPECT_EQ(ring.push_many(hints, 5), 5u);
  EXPECT_EQ(ring.push_many(hints, 12), 3u);
  EXPECT_EQ(ring.push_many(hints, 1), 0u);
  HintCell cell;
  for (std::uint32_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(pop(ring, cell));
    EXPECT_EQ(cell.slot(), i < 5 ? i : i - 5);
  }
}

TEST(Ring, AHeadMovedByAnotherIsNotMovedBack) {
  RingMemory memory(3);
  Ring ring = memory.view();
  for (std::uint32_t i = 0; i < 4; ++i) ASSERT_TRUE(ring.push(i, i));
  const std::uint64_t start = ring.head();
  ring.advance_head(start, start + 3);
  ring.advance_head(start, start + 1);  // a slower popper that saw the same start
  EXPECT_EQ(ring.head(), start + 3);
}

// Every hint that was pushed is seen by some popper at least once, and none that was not.
void hammer(std::uint32_t log2, int pushers, int poppers, bool batches) {
  constexpr std::uint32_t kEach = 40'000;
  RingMemory memory(log2);
  memory.start_at(((std::uint64_t{1} << HintCell::kLapBits) << log2) - 1000);  // across the lap's wrap as well
  const std::uint32_t total = kEach * static_cast<std::uint32_t>(pushers);
  std::vector<std::atomic<std::uint32_t>> seen(total);
  std::atomic<std::uint32_t> invented{0}, distinct{0};
  std::vector<std::thread> threads;
  for (int p = 0; p < pushers; ++p) {
    threads.emplace_back([&, p] {
      Ring ring = memory.view();
      const std::uint32_t first = static_cast<std::uint32_t>(p) * kEach;
      for (std::uint32_t i = 0; i < kEach;) {
        if (!batches) {
          if (ring.push(first + i, first + i)) {
            ++i;
          } else {
            std::this_thread::yield();
          }
          continue;
        }
        HintCell hints[16];
        const std::uint32_t n = std::min(16u, kEach - i);
        for (std::uint32_t k = 0; k < n; ++k) hints[k] = HintCell(0, first + i + k, first + i + k);
        const std::uint32_t done = ring.push_many(hints, n);
        if (done == 0) std::this_thread::yield();
        i += done;
      }
    });
  }
  for (int p = 0; p < poppers; ++p) {
    threads.emplace_back([&] {
      Ring ring = memory.view();
      while (distinct.load() < total) {
        const std::uint64_t start = ring.head();
        std::uint64_t position = start;
        HintCell cell;
        while (position - start < 8 && ring.peek(position, cell)) {
          ++position;
          if (cell.slot() >= total || cell.tag() != (cell.slot() & HintCell::kTagMask)) {
            invented.fetch_add(1);
          } else if (seen[cell.slot()].fetch_add(1) == 0) {
            distinct.fetch_add(1);
          }
        }
        if (position != start) {
          ring.advance_head(start, position);
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(invented.load(), 0u);
  EXPECT_EQ(distinct.load(), total);
}

TEST(RingHammer, TwoPushersTwoPoppers) { hammer(6, 2, 2, false); }
TEST(RingHammer, ATinyRing) { hammer(1, 2, 2, false); }
TEST(RingHammer, Batches) { hammer(6, 2, 2, true); }
TEST(RingHammer, BatchesAndSinglesOverATinyRing) { hammer(2, 3, 1, true); }

}  // namespace
}  // namespace stem::shm
