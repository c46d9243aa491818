#include "shm/participant.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "shm/death.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"
#include "tests/support/wait.hpp"

namespace stem::shm {
namespace {

class ParticipantTest : public ::testing::Test {
 protected:
  ParticipantTest() : segment(test::must_create(test::small_segment(scratch))) {}
  RowState state(std::uint32_t index) { return row_state(segment->row(index).status.load()); }
  test::ScratchDirectory scratch;
  std::shared_ptr<Segment> segment;
};

TEST_F(ParticipantTest, JoinsAndLeaves) {
  std::uint32_t index = 0;
  {
    const auto p = test::must_join(segment, Role::kWorker);
    index = p->index();
    EXPECT_EQ(state(index), RowState::kLive);
    EXPECT_EQ(segment->row(index).pid, static_cast<std::uint32_t>(::getpid()));
    EXPECT_EQ(segment->row(index).role.load(), static_cast<std::uint32_t>(Role::kWorker));
    EXPECT_STREQ(segment->row(index).name, "test");
    EXPECT_TRUE(p->still_ours());
    EXPECT_FALSE(DeathProof::obtain(*segment, index)) << "the living cannot be proved dead";
    EXPECT_FALSE(signalled_dead(segment->row(index)));
  }
  EXPECT_EQ(state(index), RowState::kFree);
  EXPECT_TRUE(DeathProof::obtain(*segment, index));
}

TEST_F(ParticipantTest, ARowIsUsedAgainByTheNextIncarnation) {
  std::uint64_t before = 0;
  std::uint32_t index = 0;
  {
    const auto p = test::must_join(segment);
    before = p->incarnation();
    index = p->index();
  }
  const auto p = test::must_join(segment);
  EXPECT_EQ(p->index(), index);
  EXPECT_EQ(p->incarnation(), before + 1);
}

TEST_F(ParticipantTest, AllRowsTaken) {
  std::vector<std::unique_ptr<Participant>> all;
  std::set<std::uint32_t> rows;
  const auto join_as = [&](Role role, std::uint32_t how_many) {
    for (std::uint32_t i = 0; i < how_many; ++i) {
      all.push_back(test::must_join(segment, role));
      rows.insert(all.back()->index());
    }
    const auto one_more = Participant::join(segment, {role, "late"});
    ASSERT_FALSE(one_more);
    EXPECT_EQ(one_more.error().code, Errc::kFull);
  };
  const std::uint32_t count = segment->geometry().participant_count;
  join_as(Role::kClient, count - kKeepersRows);
  join_as(Role::kWorker, 0);
  join_as(Role::kTool, kKeepersRows / 2);
  join_as(Role::kSupervisor, kKeepersRows / 2);
  EXPECT_EQ(rows.size(), count);
  all.erase(all.begin() + 5);
  EXPECT_TRUE(Participant::join(segment, {Role::kClient, "late"}));
}

TEST_F(ParticipantTest, AWatcherSeesAndNobodySeesIt) {
  const auto seen = Segment::watch("test", scratch.path());
  ASSERT_TRUE(seen.ok()) << seen.error().message;
  const std::uint32_t rows = segment->rows_used();
  {
    const auto watcher = Participant::watch(*seen);
    EXPECT_TRUE(watcher->watches());
    EXPECT_EQ(watcher->index(), segment->geometry().participant_count);
    watcher->beat();
    EXPECT_EQ(segment->rows_used(), rows);
    segment->header().keeper_passes.store(42);
    EXPECT_EQ((*seen)->header().keeper_passes.load(), 42u);
  }
  const Segment& s = **seen;
  const Offset unused = s.layout().events;
  EXPECT_FALSE(s.commit(unused, 1)) << "it may put no memory anywhere";
  // Rows that others have memory behind are seen, and no others.
  const Offset limiter = s.layout().limiters;
  EXPECT_FALSE((*seen)->commit_row(limiter, sizeof(LimiterRow)));
  ASSERT_TRUE(segment->commit_row(limiter, sizeof(LimiterRow)));
  EXPECT_TRUE((*seen)->commit_row(limiter, sizeof(LimiterRow)));
  EXPECT_EQ(Segment::watch("nobody", scratch.path()).error().code, Errc::kNotFound);
}

TEST_F(ParticipantTest, OutOfDescriptorsIsNotOutOfRows) {
  test::Process child([&] {
    const auto mine = test::must_attach("test", scratch.path());
    const rlimit few{16, 16};
    if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 9;
    while (::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) {
    }
    const auto joined = Participant::join(mine, {Role::kClient, "poor"});
    if (joined) return 1;
    return joined.error().code == Errc::kFull ? 2 : 0;
  });
  EXPECT_EQ(child.wait(), 0) << "2: it says that the rows are taken, which is not so";
  EXPECT_LT(segment->header().roster_used.load(), 4u);
}

TEST_F(ParticipantTest, ThreadsJoinAtOnceEachWithARowOfItsOwn) {
  std::atomic<int> joined{0}, failed{0};
  std::vector<std::atomic<int>> users(segment->geometry().participant_count);
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        auto p = Participant::join(segment, {Role::kClient, "t"});
        if (!p) {
          failed.fetch_add(1);
          continue;
        }
        if (users[(*p)->index()].fetch_add(1) != 0) failed.fetch_add(1);
        joined.fetch_add(1);
        users[(*p)->index()].fetch_sub(1);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failed.load(), 0);
  EXPECT_EQ(joined.load(), 400);
}

TEST_F(ParticipantTest, AKilledProcessIsSignalledThenProved) {
  test::Process child([&] {
    auto mine = test::must_attach("test", scratch.path());
    auto p = test::must_join(mine, Role::kWorker);
    for (;;) ::pause();
    return 0;
  });
  ASSERT_TRUE(test::wait_until([&] { return state(0) == RowState::kLive; }));
  EXPECT_FALSE(signalled_dead(segment->row(0)));
  EXPECT_FALSE(DeathProof::obtain(*segment, 0));
  child.kill();
  EXPECT_TRUE(test::wait_until([&] { return signalled_dead(segment->row(0)); }));
  EXPECT_TRUE(test::wait_until([&] { return DeathProof::obtain(*segment, 0).has_value(); }));
  EXPECT_EQ(state(0), RowState::kLive) << "nobody has swept it yet";
  const auto next = test::must_join(segment);
  EXPECT_NE(next->index(), 0u) << "a row that nobody has swept is passed over";
}

TEST_F(ParticipantTest, AStoppedProcessIsNeitherSignalledNorProved) {
  test::Process child([&] {
    auto mine = test::must_attach("test", scratch.path());
    auto p = test::must_join(mine, Role::kWorker);
    for (;;) ::pause();
    return 0;
  });
  ASSERT_TRUE(test::wait_until([&] { return state(0) == RowState::kLive; }));
  child.stop();
  EXPECT_FALSE(signalled_dead(segment->row(0)));
  EXPECT_FALSE(DeathProof::obtain(*segment, 0));
}

TEST_F(ParticipantTest, OfTwoOnlyOneHasTheRightToSweep) {
  const auto first = DeathProof::obtain(*segment, 3);
  ASSERT_TRUE(first);
  EXPECT_FALSE(DeathProof::obtain(*segment, 3));
  EXPECT_TRUE(DeathProof::obtain(*segment, 4));
}

// A child that is forked and never execs must not keep its parent's life sign alive.
TEST_F(ParticipantTest, AForkWithoutExecDoesNotOutliveTheProof) {
  int alive[2];
  ASSERT_EQ(::pipe2(alive, O_CLOEXEC), 0);
  test::Process parent([&] {
    auto mine = test::must_attach("test", scratch.path());
    auto p = test::must_join(mine, Role::kClient);
    if (::fork() == 0) {
      char byte = 1;
      (void)!::write(alive[1], &byte, 1);
      ::close(alive[1]);
      char end = 0;
      // Lives until the test closes its end: it ends with the test at the latest.
      while (::getppid() != 1 && ::read(alive[0], &end, 0) == 0) ::usleep(1000);
      ::usleep(200'000);
      ::_exit(0);
    }
    for (;;) ::pause();
    return 0;
  });
  char byte = 0;
  ASSERT_EQ(::read(alive[0], &byte, 1), 1);
  ASSERT_EQ(state(0), RowState::kLive);
  EXPECT_FALSE(DeathProof::obtain(*segment, 0)) << "the parent lives";
  parent.kill();
  EXPECT_TRUE(
      test::wait_until([&] { return DeathProof::obtain(*segment, 0).has_value(); }, std::chrono::milliseconds(150)))
      << "the grandchild holds the lock";
  ::close(alive[0]);
  ::close(alive[1]);
}

TEST_F(ParticipantTest, AForkedChildMayDestroyItsCopy) {
  auto p = test::must_join(segment);
  test::Process child([&] {
    p.reset();
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(state(p->index()), RowState::kLive);
  EXPECT_TRUE(p->still_ours());
  EXPECT_FALSE(DeathProof::obtain(*segment, p->index()));
}

TEST_F(ParticipantTest, SlotsOfAReserveGoBackOnLeaving) {
  {
    const auto p = test::must_join(segment);
    std::uint32_t slot = 0;
    ControlWord word;
    ASSERT_TRUE(p->take_slot(slot, word));
    EXPECT_EQ(word.owner(), p->owner());
    EXPECT_GT(test::slots_in(*segment, State::kAlloc), 1u) << "it keeps a reserve";
    p->return_slot(slot, word);
  }
  EXPECT_EQ(test::slots_in(*segment, State::kAlloc), 0u);
}

TEST_F(ParticipantTest, EverySlotCanBeTakenOnceAndNoMore) {
  const auto p = test::must_join(segment);
  std::set<std::uint32_t> taken;
  std::uint32_t slot = 0;
  ControlWord word;
  // A full segment is searched a stretch at a time, so one refusal is not the end.
  for (int refusals = 0; refusals < 4;) {
    if (!p->take_slot(slot, word)) {
      ++refusals;
      continue;
    }
    ASSERT_LT(slot, segment->geometry().slot_count);
    ASSERT_TRUE(taken.insert(slot).second) << "slot " << slot << " twice";
  }
  EXPECT_EQ(taken.size(), segment->geometry().slot_count);
}

TEST_F(ParticipantTest, SlotsTravelFromOneToTheOther) {
  const auto giver = test::must_join(segment);
  const auto taker = test::must_join(segment);
  std::vector<std::pair<std::uint32_t, ControlWord>> held;
  std::uint32_t slot = 0;
  ControlWord word;
  for (int refusals = 0; refusals < 4;) {
    if (giver->take_slot(slot, word)) {
      held.emplace_back(slot, word);
    } else {
      ++refusals;
    }
  }
  EXPECT_FALSE(taker->take_slot(slot, word));
  for (auto& [s, w] : held) {
    ControlWord expected = w;
    ASSERT_TRUE(segment->descriptor(s).control.change(expected, w.with(State::kFree, 0)));
    giver->offer_free(s);
  }
  std::set<std::uint32_t> taken;
  for (int refusals = 0; refusals < 4;) {
    if (taker->take_slot(slot, word)) {
      ASSERT_TRUE(taken.insert(slot).second);
    } else {
      ++refusals;
    }
  }
  EXPECT_EQ(taken.size(), held.size());
}

}  // namespace
}  // namespace stem::shm
