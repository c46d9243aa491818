#include "shm/blocks.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::shm {
namespace {

class BlocksTest : public ::testing::Test {
 protected:
  explicit BlocksTest(std::uint64_t block_bytes = 256ull << 20) {
    SegmentOptions options = test::small_segment(scratch);
    options.block_bytes = block_bytes;
    segment = test::must_create(options);
    participant = test::must_join(segment);
  }
  // A slot that is alive in its present life.
  std::pair<std::uint32_t, std::uint64_t> slot() {
    std::uint32_t s = 0;
    ControlWord word;
    if (!participant->take_slot(s, word)) ADD_FAILURE() << "no slot";
    words[s] = word;
    return {s, word.generation()};
  }
  void end_life(std::uint32_t s) {
    ControlWord word = words.at(s);
    ASSERT_TRUE(segment->descriptor(s).control.change(word, word.with(State::kFree, 0)));
  }
  std::uint64_t patrol(Blocks& blocks) {
    std::uint64_t cursor = 0, freed = 0;
    while (!blocks.patrol(cursor, 100, freed)) {
    }
    return freed;
  }
  test::ScratchDirectory scratch;
  std::shared_ptr<Segment> segment;
  std::unique_ptr<Participant> participant;
  std::map<std::uint32_t, ControlWord> words;
};

class SmallArena : public BlocksTest {
 protected:
  SmallArena() : BlocksTest(kSuperblockBytes) {}
};

TEST_F(BlocksTest, TheTagNamesSlotLifeAndKind) {
  const std::uint64_t tag = block_tag(kMaxSlots - 1, (std::uint64_t{1} << 36) - 1, BlockKind::kResult);
  EXPECT_EQ(tag_slot(tag), kMaxSlots - 1);
  EXPECT_EQ(tag_generation(tag), (std::uint64_t{1} << 36) - 1);
  EXPECT_EQ(tag_kind(tag), BlockKind::kResult);
}

TEST_F(BlocksTest, EveryClassHoldsWhatWasAskedFor) {
  Blocks blocks(*segment);
  const auto [s, generation] = slot();
  for (const std::uint32_t stride : kBlockStride) {
    for (const std::uint32_t bytes : {stride / 4 + 1, stride - static_cast<std::uint32_t>(sizeof(BlockHeader))}) {
      const BlockId id = blocks.take(bytes, s, generation, BlockKind::kPayload);
      ASSERT_NE(id, kNoBlock) << bytes;
      const auto room = blocks.bytes(id, block_tag(s, generation, BlockKind::kPayload));
      ASSERT_GE(room.size(), bytes);
      std::memset(room.data(), 0x5a, room.size());
      EXPECT_TRUE(blocks.bytes(id, block_tag(s, generation + 1, BlockKind::kPayload)).empty()) << "another life";
      EXPECT_TRUE(blocks.bytes(id, block_tag(s, generation, BlockKind::kResult)).empty()) << "another kind";
      blocks.give_back(id, s, generation, BlockKind::kPayload);
      EXPECT_TRUE(blocks.bytes(id, block_tag(s, generation, BlockKind::kPayload)).empty()) << "given back";
    }
  }
  EXPECT_EQ(blocks.take((1u << 20) + (1u << 17), s, generation, BlockKind::kPayload), kNoBlock) << "beyond every class";
}

TEST_F(BlocksTest, NoBlockIsGivenTwice) {
  Blocks one(*segment);
  Blocks two(*segment);
  const auto [s, generation] = slot();
  std::set<BlockId> seen;
  for (int i = 0; i < 500; ++i)
    ASSERT_TRUE(seen.insert((i % 2 == 0 ? one : two).take(900, s, generation, BlockKind::kPayload)).second);
}

TEST_F(BlocksTest, GivingBackAnothersBlockDoesNothing) {
  Blocks blocks(*segment);
  const auto [a, generation_a] = slot();
  const auto [b, generation_b] = slot();
  const BlockId id = blocks.take(500, a, generation_a, BlockKind::kPayload);
  blocks.give_back(id, b, generation_b, BlockKind::kPayload);
  blocks.give_back(id, a, generation_a + 1, BlockKind::kPayload);
  EXPECT_FALSE(blocks.bytes(id, block_tag(a, generation_a, BlockKind::kPayload)).empty());
  blocks.give_back(id, a, generation_a, BlockKind::kPayload);
  blocks.give_back(id, a, generation_a, BlockKind::kPayload);  // twice is once
  EXPECT_NE(blocks.take(500, b, generation_b, BlockKind::kPayload), kNoBlock);
}

TEST_F(BlocksTest, NumbersThatNameNoBlockAreRefused) {
  Blocks blocks(*segment);
  for (const BlockId id : {kNoBlock, BlockId{0}, BlockId{1u << 14}, BlockId{16383}, BlockId{0x7fffffff}}) {
    EXPECT_EQ(blocks.header(id), nullptr) << id;
    EXPECT_TRUE(blocks.bytes(id, 0).empty());
    blocks.give_back(id, 1, 1, BlockKind::kPayload);
  }
}

TEST_F(BlocksTest, ABlockBeyondTheUsedOnesIsRefused) {
  Blocks blocks(*segment);
  const auto [s, generation] = slot();
  const BlockId first = blocks.take(500, s, generation, BlockKind::kPayload);
  ASSERT_NE(blocks.header(first), nullptr);
  EXPECT_EQ(blocks.header(first + 1000), nullptr) << "nobody has put memory behind it";
}

TEST_F(BlocksTest, OrphansAreFreedAndTheLivingAreNot) {
  Blocks blocks(*segment);
  const auto [dead, dead_generation] = slot();
  const auto [live, live_generation] = slot();
  const BlockId orphan = blocks.take(2000, dead, dead_generation, BlockKind::kPayload);
  const BlockId kept = blocks.take(2000, live, live_generation, BlockKind::kPayload);
  EXPECT_EQ(patrol(blocks), 0u);
  end_life(dead);
  EXPECT_EQ(patrol(blocks), 1u);
  EXPECT_TRUE(blocks.bytes(orphan, block_tag(dead, dead_generation, BlockKind::kPayload)).empty());
  EXPECT_FALSE(blocks.bytes(kept, block_tag(live, live_generation, BlockKind::kPayload)).empty());
  EXPECT_EQ(patrol(blocks), 0u);
}

// Whoever is filling a block may be stopped, lose the task, and go on: the block is his until he is gone.
TEST_F(BlocksTest, ABlockThatIsBeingFilledIsFreedOnlyWhenItsFillerIsGone) {
  Blocks blocks(*segment);
  const auto filling = block_tag(participant->index(), participant->incarnation(), BlockKind::kFilling);
  const BlockId id = blocks.take(2000, participant->index(), participant->incarnation(), BlockKind::kFilling);
  ASSERT_NE(id, kNoBlock);
  EXPECT_EQ(patrol(blocks), 0u);
  EXPECT_FALSE(blocks.bytes(id, filling).empty());
  participant.reset();
  EXPECT_EQ(patrol(blocks), 1u);
  EXPECT_TRUE(blocks.bytes(id, filling).empty());
}

TEST_F(BlocksTest, ABlockThatIsBeingFilledIsNotItsRowsNextOwners) {
  Blocks blocks(*segment);
  const std::uint32_t row = participant->index();
  ASSERT_NE(blocks.take(2000, row, participant->incarnation(), BlockKind::kFilling), kNoBlock);
  participant.reset();
  participant = test::must_join(segment);
  ASSERT_EQ(participant->index(), row) << "the test wants the same row";
  EXPECT_EQ(patrol(blocks), 1u);
}

TEST_F(SmallArena, ABlockThatIsBeingFilledIsNotTakenForAFreeSlots) {
  Blocks blocks(*segment);
  std::uint64_t filled = 0;
  while (blocks.take(60'000, participant->index(), participant->incarnation(), BlockKind::kFilling) != kNoBlock)
    ++filled;
  EXPECT_EQ(filled, kSuperblockBytes / kBlockStride[4]);
  const auto [s, generation] = slot();
  EXPECT_EQ(blocks.take(60'000, s, generation, BlockKind::kPayload), kNoBlock);
}

TEST_F(SmallArena, RunsOutAndRecovers) {
  Blocks blocks(*segment);
  const auto [s, generation] = slot();
  std::vector<BlockId> all;
  for (BlockId id; (id = blocks.take(60'000, s, generation, BlockKind::kPayload)) != kNoBlock;) all.push_back(id);
  EXPECT_EQ(all.size(), kSuperblockBytes / kBlockStride[4]);
  EXPECT_EQ(blocks.take(100, s, generation, BlockKind::kPayload), kNoBlock) << "no superblock for another class";
  for (const BlockId id : all) blocks.give_back(id, s, generation, BlockKind::kPayload);
  for (std::size_t i = 0; i < all.size(); ++i)
    ASSERT_NE(blocks.take(60'000, s, generation, BlockKind::kPayload), kNoBlock) << i;
}

// What one process gives back, another can take; a worker must not hoard the whole arena.
TEST_F(SmallArena, WhatAConsumerFreesAProducerGets) {
  Blocks producer(*segment);
  Blocks consumer(*segment);
  const auto [s, generation] = slot();
  std::vector<BlockId> held;
  for (BlockId id; (id = producer.take(1u << 20, s, generation, BlockKind::kPayload)) != kNoBlock;) held.push_back(id);
  ASSERT_GE(held.size(), 3u);
  for (int round = 0; round < 50; ++round) {
    for (const BlockId id : held) consumer.give_back(id, s, generation, BlockKind::kPayload);
    const std::size_t wanted = held.size();
    held.clear();
    for (std::size_t i = 0; i < wanted; ++i) {
      const BlockId id = producer.take(1u << 20, s, generation, BlockKind::kPayload);
      ASSERT_NE(id, kNoBlock) << "round " << round << ": " << i << " of " << wanted << " came back";
      held.push_back(id);
    }
  }
}

TEST_F(BlocksTest, ThreadsTakeAndGiveWithoutSharingABlock) {
  const auto [s, generation] = slot();
  std::vector<std::thread> threads;
  std::atomic<int> clashes{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t, s = s, generation = generation] {
      Blocks blocks(*segment);
      for (int i = 0; i < 3000; ++i) {
        const BlockId id = blocks.take(300, s, generation, BlockKind::kPayload);
        if (id == kNoBlock) continue;
        auto room = blocks.bytes(id, block_tag(s, generation, BlockKind::kPayload));
        const int mark = t * 10'000 + i;
        std::memcpy(room.data(), &mark, sizeof mark);
        int read = 0;
        std::memcpy(&read, room.data(), sizeof read);
        if (read != mark) clashes.fetch_add(1);
        blocks.give_back(id, s, generation, BlockKind::kPayload);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(clashes.load(), 0);
}

}  // namespace
}  // namespace stem::shm
