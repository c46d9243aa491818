#include "shm/control_word.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/random.hpp"
#include "shm/transitions.hpp"

namespace stem::shm {
namespace {

TEST(ControlWord, PacksAndUnpacksEveryField) {
  base::Random random(1);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t generation = random.next() & ((std::uint64_t{1} << kGenerationBits) - 1);
    const auto grant = static_cast<std::uint32_t>(random.below(kMaxGrant + 1));
    const auto owner = static_cast<std::uint32_t>(random.below(1u << kOwnerBits));
    const auto state = static_cast<State>(random.below(kStateCount));
    const ControlWord word(generation, grant, owner, state);
    ASSERT_EQ(word.generation(), generation);
    ASSERT_EQ(word.grant(), grant);
    ASSERT_EQ(word.owner(), owner);
    ASSERT_EQ(word.state(), state);
    ASSERT_EQ(ControlWord(word.bits()), word);
  }
}

TEST(ControlWord, ZeroIsAFreeSlotOfNoLife) {
  const ControlWord word;
  EXPECT_EQ(word.bits(), 0u);
  EXPECT_EQ(word.state(), State::kFree);
  EXPECT_EQ(word.generation(), 0u);
  EXPECT_EQ(word.owner(), 0u);
}

TEST(ControlWord, TheFieldsDoNotSpillIntoEachOther) {
  const std::uint64_t last = (std::uint64_t{1} << kGenerationBits) - 1;
  const ControlWord full(last, kMaxGrant, (1u << kOwnerBits) - 1, State::kQuarantine);
  EXPECT_EQ(full.next_life(7).generation(), 0u) << "the last life is followed by the first";
  EXPECT_EQ(full.next_life(7).grant(), 0u);
  EXPECT_EQ(full.next_life(7).owner(), 7u);
  const ControlWord leased(5, 9, 3, State::kLeased);
  EXPECT_EQ(leased.regrant(State::kReady), ControlWord(5, 10, 0, State::kReady));
  EXPECT_EQ(leased.with(State::kDone, 0), ControlWord(5, 9, 0, State::kDone));
}

TEST(ControlWord, FourBitsAreNoStateBeyondTheTwelfth) {
  for (std::uint64_t bits = 0; bits < 16; ++bits) EXPECT_EQ(ControlWord(bits).legal_state(), bits < 12) << bits;
}

TEST(ControlWord, EveryStateHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int s = 0; s < kStateCount; ++s) names.insert(to_string(static_cast<State>(s)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(kStateCount));
  EXPECT_STREQ(to_string(static_cast<State>(13)), "illegal");
}

TEST(Transitions, TheTableIsThisListAndNothingElse) {
  using enum State;
  // Written down from the life of a task (docs/protocol.md), not from the table.
  const std::set<std::pair<State, State>> allowed = {
      {kFree, kAlloc},          {kAlloc, kFree},      {kAlloc, kReady},       {kAlloc, kDelayed},
      {kAlloc, kWaiting},       {kReady, kLeased},    {kReady, kRetiring},    {kDelayed, kReady},
      {kDelayed, kRetiring},    {kWaiting, kReady},   {kWaiting, kRetiring},  {kWaiting, kSettling},
      {kLeased, kFree},         {kLeased, kReady},    {kLeased, kDelayed},    {kLeased, kSettling},
      {kLeased, kDone},         {kLeased, kDead},     {kLeased, kQuarantine}, {kLeased, kOutbox},
      {kSettling, kSettling},   {kSettling, kDone},   {kSettling, kFree},     {kSettling, kDead},
      {kDone, kRetiring},       {kRetiring, kFree},   {kRetiring, kDone},     {kRetiring, kRetiring},
      {kOutbox, kReady},        {kOutbox, kRetiring}, {kOutbox, kOutbox},     {kOutbox, kSettling},
      {kOutbox, kQuarantine},   {kDead, kReady},      {kDead, kDelayed},      {kDead, kRetiring},
      {kQuarantine, kRetiring}, {kWaiting, kDelayed}, {kWaiting, kDead},
  };
  for (int f = 0; f < kStateCount; ++f) {
    for (int t = 0; t < kStateCount; ++t) {
      const auto from = static_cast<State>(f);
      const auto to = static_cast<State>(t);
      // The word that goes with a legal change of that kind.
      const bool again = to == kReady || to == kDelayed;
      const bool granted = from == kLeased || from == kOutbox || from == kDead;
      const ControlWord before(3, 4, 5, from);
      const ControlWord after = from == kFree      ? before.next_life(5)
                                : again && granted ? before.regrant(to)
                                                   : before.with(to, 5);
      const ControlWord other_state = from == kFree && to != kAlloc ? after.with(to, 5) : after;
      EXPECT_EQ(legal(before, other_state), allowed.contains({from, to})) << to_string(from) << " -> " << to_string(to);
    }
  }
}

TEST(Transitions, AGrantNeverComesBack) {
  const ControlWord leased(3, 4, 5, State::kLeased);
  EXPECT_FALSE(legal(leased, leased.with(State::kReady, 0))) << "the same grant twice";
  EXPECT_TRUE(legal(leased, leased.with(State::kDelayed, 0))) << "put off before it was started";
  EXPECT_FALSE(legal(ControlWord(3, 4, 0, State::kDead), ControlWord(3, 4, 0, State::kDelayed)));
  EXPECT_FALSE(legal(leased, ControlWord(3, 6, 0, State::kReady))) << "a grant skipped";
  EXPECT_FALSE(legal(leased, ControlWord(4, 5, 0, State::kReady))) << "another life";
  EXPECT_TRUE(legal(leased, ControlWord(3, 5, 0, State::kDelayed)));
  EXPECT_FALSE(legal(ControlWord(3, 4, 0, State::kReady), ControlWord(3, 5, 5, State::kLeased)))
      << "a claim is no grant";
}

TEST(Transitions, ALifeBeginsOwnedAndOneHigher) {
  const ControlWord free(8, 2, 0, State::kFree);
  EXPECT_TRUE(legal(free, ControlWord(9, 0, 1, State::kAlloc)));
  EXPECT_FALSE(legal(free, ControlWord(9, 0, 0, State::kAlloc))) << "nobody's";
  EXPECT_FALSE(legal(free, ControlWord(8, 0, 1, State::kAlloc))) << "the same life";
  EXPECT_FALSE(legal(free, ControlWord(10, 0, 1, State::kAlloc))) << "a life skipped";
  EXPECT_FALSE(legal(free, ControlWord(9, 1, 1, State::kAlloc))) << "a grant inherited";
}

TEST(ControlCellDeathTest, AnIllegalChangeAbortsThisProcess) {
  ControlCell cell;
  ControlWord word = cell.load();
  EXPECT_DEATH((void)cell.change(word, word.with(State::kLeased, 1)), "legal");
}

TEST(ControlCell, OfManyWhoChangeOneWordOneSucceeds) {
  constexpr int kThreads = 4;
  constexpr int kLives = 20'000;
  ControlCell cell;
  std::atomic<int> won{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (;;) {
        ControlWord word = cell.load();
        if (word.generation() >= kLives) return;
        if (word.state() == State::kFree) {
          if (cell.change(word, word.next_life(static_cast<std::uint32_t>(t + 1)))) won.fetch_add(1);
        } else if (word.owner() == static_cast<std::uint32_t>(t + 1)) {
          EXPECT_TRUE(cell.change(word, word.with(State::kFree, 0))) << "only the owner writes an owned word";
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(won.load(), kLives);
}

TEST(TaggedWord, KeepsGrantAndValueApart) {
  base::Random random(2);
  for (int i = 0; i < 10'000; ++i) {
    const auto grant = static_cast<std::uint32_t>(random.below(kMaxGrant + 1));
    const std::uint64_t value = random.next() & TaggedWord::kValueMask;
    const TaggedWord word(grant, value);
    ASSERT_EQ(word.grant(), grant);
    ASSERT_EQ(word.value(), value);
  }
}

TEST(Tally, SurvivesPacking) {
  base::Random random(3);
  for (int i = 0; i < 10'000; ++i) {
    Tally t;
    t.attempts = static_cast<std::uint32_t>(random.below(1u << 16));
    t.deaths = static_cast<std::uint32_t>(random.below(1u << 12));
    t.releases = static_cast<std::uint32_t>(random.below(1u << 23));
    t.rate_paid = random.below(2) == 1;
    ASSERT_LE(t.pack(), TaggedWord::kValueMask);
    const Tally u = Tally::unpack(t.pack());
    ASSERT_EQ(u.attempts, t.attempts);
    ASSERT_EQ(u.deaths, t.deaths);
    ASSERT_EQ(u.releases, t.releases);
    ASSERT_EQ(u.rate_paid, t.rate_paid);
  }
}

}  // namespace
}  // namespace stem::shm
