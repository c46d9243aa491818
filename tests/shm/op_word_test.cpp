// The name of an operation in a roster row: which change it is, and under which grant.
#include <gtest/gtest.h>

#include "shm/layout.hpp"

namespace stem::shm {
namespace {

constexpr std::uint64_t kLives[] = {1, 2, 77, 0xfffff, 0xffffff, 0x123456789, ControlWord::kLastGeneration};
constexpr std::uint32_t kGrants[] = {0, 1, 2, 0x800, kMaxGrant - 1, kMaxGrant};

TEST(OpWord, NamesLifeAndGrant) {
  for (const std::uint32_t items : {0u, 1u, 0x4000u, 0x7f00u})
    for (const std::uint64_t life : kLives)
      for (const std::uint32_t grant : kGrants) {
        const ControlWord lease(life, grant, 5, State::kLeased);
        const OpWord op =
            items == 0 ? OpWord(OpKind::kSettle, kMaxSlots - 1, lease) : OpWord::of_items(kMaxSlots - 1, lease, items);
        EXPECT_EQ(op.kind(), items == 0 ? OpKind::kSettle : OpKind::kItem);
        EXPECT_EQ(op.slot(), kMaxSlots - 1);
        EXPECT_TRUE(op.of_lease(lease.with(State::kFree, 0)));
        EXPECT_EQ(op.grant(lease), grant);
        for (const std::uint32_t other : kGrants) {
          const ControlWord later(life, other, 9, State::kReady);
          EXPECT_TRUE(op.of_life(later));
          EXPECT_EQ(op.grant(later), grant);
          EXPECT_EQ(op.of_lease(later), other == grant);
        }
        EXPECT_FALSE(op.of_life(ControlWord(life ^ 1, grant, 5, State::kLeased)));
        EXPECT_FALSE(op.of_lease(ControlWord(life ^ 1, grant ^ 1, 5, State::kLeased)));
      }
}

TEST(OpWord, NoTwoChangesOfOneRunAreAlike) {
  const ControlWord lease(9, 3, 5, State::kLeased);
  std::uint64_t before = OpWord(OpKind::kSettle, 4, lease).bits();
  for (std::uint32_t items = 1; items <= 0x4000; items <<= 1) {
    const OpWord op = OpWord::of_items(4, lease, items);
    EXPECT_NE(op.bits(), before);
    EXPECT_EQ(op.done().kind(), OpKind::kItemDone);
    EXPECT_TRUE(op.done().of_lease(lease));
    before = op.bits();
  }
}

}  // namespace
}  // namespace stem::shm
