// Runs: several small tasks under one control word, each acknowledged by itself.
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <map>
#include <set>

#include "base/random.hpp"
#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "engine/query.hpp"
#include "engine/unique.hpp"
#include "shm/names.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::test {
namespace {

using engine::Begin;
using engine::EnqueueStatus;
using engine::Lease;
using engine::Settled;
using engine::TaskView;
using shm::Counter;
using shm::State;

constexpr std::int64_t kNow = 1'000'000'000'000;

class RunTest : public ::testing::Test {
 protected:
  RunTest()
      : segment_(must_create(small_segment(directory_))),
        producer_(segment_),
        worker_(segment_, shm::Role::kWorker),
        queue_(must_queue(*segment_, "q")),
        task_(must_task(*segment_, "t")) {}

  std::vector<engine::TaskId> enqueue(std::uint64_t count) {
    std::vector<std::unique_ptr<Numbered>> tasks;
    std::vector<engine::TaskSpec> specs;
    for (std::uint64_t i = 0; i < count; ++i) {
      tasks.push_back(std::make_unique<Numbered>(queue_, task_, i));
      specs.push_back(tasks.back()->spec);
    }
    std::vector<engine::TaskId> ids(count);
    std::size_t done = 0;
    EXPECT_EQ(producer_->enqueue_many(specs.data(), count, ids.data(), done, kNow), EnqueueStatus::kOk);
    EXPECT_EQ(done, count);
    return ids;
  }

  // Runs everything there is, claiming at most `most` at a time; how often each number was run.
  std::map<std::uint64_t, int> drain(Attached& worker, std::uint32_t most) {
    std::map<std::uint64_t, int> seen;
    std::vector<Lease> leases(most);
    int empty = 0;
    while (empty < 3) {
      const std::uint32_t n = worker->claim(queue_, leases.data(), most, kNow);
      EXPECT_LE(n, most);
      empty = n == 0 ? empty + 1 : 0;
      for (std::uint32_t i = 0; i < n; ++i) {
        TaskView view;
        if (!worker->view(leases[i], view)) continue;
        EXPECT_EQ(worker->begin(leases[i], view, kNow), Begin::kStart);
        ++seen[number_of(view)];
        EXPECT_EQ(worker->succeed(leases[i], view, {}, kNow), Settled::kDone);
      }
    }
    return seen;
  }

  void expect_once_each(const std::map<std::uint64_t, int>& seen, std::uint64_t count) {
    EXPECT_EQ(seen.size(), count);
    for (const auto& [number, times] : seen) EXPECT_EQ(times, 1) << "task " << number;
  }

  ScratchDirectory directory_;
  std::shared_ptr<shm::Segment> segment_;
  Attached producer_;
  Attached worker_;
  std::uint32_t queue_, task_;
};

TEST_F(RunTest, ManySmallTasksShareSlotsAndAreCountedOneByOne) {
  const auto ids = enqueue(100);
  EXPECT_EQ(slots_in(*segment_, State::kReady), 7u);  // six of fifteen, one of ten
  EXPECT_EQ(std::set<std::uint64_t>({ids[0].handle, ids[99].handle}).size(), 2u);
  EXPECT_EQ(engine::Query(*producer_).queues()[queue_].ready, 100u);
  expect_once_each(drain(worker_, 64), 100);
  EXPECT_EQ(total(*producer_, queue_, Counter::kEnqueued), 100u);
  EXPECT_EQ(total(*producer_, queue_, Counter::kSucceeded), 100u);
  EXPECT_EQ(slots_in(*segment_, State::kReady), 0u);
  EXPECT_EQ(unsettled(*producer_), "");
}

TEST_F(RunTest, AWorkerThatMayHoldTwoLeavesTheRestToOthers) {
  enqueue(15);
  Lease leases[2];
  ASSERT_EQ(worker_->claim(queue_, leases, 2, kNow), 2u);
  EXPECT_EQ(engine::Query(*producer_).queues()[queue_].leased, 2u);
  EXPECT_EQ(engine::Query(*producer_).queues()[queue_].ready, 13u);
  Attached other(segment_, shm::Role::kWorker);
  auto seen = drain(other, 2);
  for (const Lease& lease : leases) {
    TaskView view;
    ASSERT_TRUE(worker_->view(lease, view));
    ++seen[number_of(view)];
    EXPECT_EQ(worker_->succeed(lease, view, {}, kNow), Settled::kDone);
  }
  expect_once_each(seen, 15);
  EXPECT_EQ(broken_invariants(*producer_), "");
}

// The lane's first ring is full when a run goes back into it, so it grows in the middle of a claim, which must
// not move the new ring's head. The purged run in front is a stale hint that the claim passes.
TEST_F(RunTest, NoHintIsLostWhenTheRingGrowsDuringAClaim) {
  (void)enqueue(engine::kRunItems);
  ASSERT_EQ(engine::Control(*worker_).purge(queue_, kNow), engine::kRunItems);
  const std::uint64_t count = ((std::uint64_t{1} << shm::kFirstRingLog2) - 1) * engine::kRunItems;
  (void)enqueue(count);
  Lease leases[2];
  ASSERT_EQ(worker_->claim(queue_, leases, 2, kNow), 2u);
  (void)enqueue(engine::kRunItems);
  for (const Lease& lease : leases) EXPECT_EQ(worker_->release(lease, kNow), Settled::kDone);
  std::uint64_t runs = 0;
  for (const auto& [number, times] : drain(worker_, 2)) runs += static_cast<std::uint64_t>(times);
  EXPECT_EQ(runs, count + engine::kRunItems);
}

TEST_F(RunTest, AFailedItemMovesOutAndRetriesWithItsAttempt) {
  enqueue(5);
  Lease leases[16];
  ASSERT_EQ(worker_->claim(queue_, leases, 16, kNow), 5u);
  TaskView view;
  ASSERT_TRUE(worker_->view(leases[2], view));
  bool retried = false;
  EXPECT_EQ(worker_->fail(leases[2], view, {"error", "no"}, 0, kNow, retried), Settled::kDone);
  EXPECT_TRUE(retried);
  for (const int i : {0, 1, 3, 4}) {
    ASSERT_TRUE(worker_->view(leases[i], view));
    EXPECT_EQ(worker_->succeed(leases[i], view, {}, kNow), Settled::kDone);
  }
  ASSERT_EQ(worker_->claim(queue_, leases, 16, kNow), 1u);
  ASSERT_TRUE(worker_->view(leases[0], view));
  EXPECT_EQ(number_of(view), 2u);
  EXPECT_EQ(view.tally.attempts, 1u);
  EXPECT_EQ(worker_->succeed(leases[0], view, {}, kNow), Settled::kDone);
  EXPECT_EQ(broken_invariants(*producer_), "");
  EXPECT_EQ(total(*producer_, queue_, Counter::kEnqueued), 5u);
  EXPECT_EQ(total(*producer_, queue_, Counter::kSucceeded), 5u);
}

TEST_F(RunTest, BuriedSnoozedAndReleasedItemsFareAsSingleTasksDo) {
  enqueue(4);
  Lease leases[16];
  ASSERT_EQ(worker_->claim(queue_, leases, 16, kNow), 4u);
  TaskView view;
  ASSERT_TRUE(worker_->view(leases[0], view));
  EXPECT_EQ(worker_->bury(leases[0], view, engine::DeadReason::kPermanentFailure, {"x", "y"}, kNow), Settled::kDone);
  ASSERT_TRUE(worker_->view(leases[1], view));
  EXPECT_EQ(worker_->snooze(leases[1], view, 1'000'000'000, kNow), Settled::kDone);
  EXPECT_EQ(worker_->release(leases[2], kNow), Settled::kDone);
  ASSERT_TRUE(worker_->view(leases[3], view));
  EXPECT_EQ(worker_->cancel(leases[3], view, Counter::kCancelled, {"z", ""}, kNow), Settled::kDone);
  EXPECT_EQ(engine::DeadLetters(*producer_).list({}).size(), 1u);
  EXPECT_EQ(slots_in(*segment_, State::kDelayed), 1u);
  EXPECT_EQ(slots_in(*segment_, State::kReady), 1u);
  EXPECT_EQ(total(*producer_, queue_, Counter::kCancelled), 1u);
  EXPECT_EQ(broken_invariants(*producer_), "");
}

TEST_F(RunTest, WhatALateHolderAcknowledgesIsRefusedItemByItem) {
  enqueue(6);
  Lease late[16];
  ASSERT_EQ(worker_->claim(queue_, late, 16, kNow), 6u);
  TaskView view;
  ASSERT_TRUE(worker_->view(late[0], view));
  EXPECT_EQ(worker_->succeed(late[0], view, {}, kNow), Settled::kDone);
  // Its lease ends; another worker takes the five that are left.
  ASSERT_TRUE(producer_->redeliver(late[0].slot, late[0].word, 0, engine::LeaseEnd::kSilent, kNow));
  Attached other(segment_, shm::Role::kWorker);
  Lease leases[16];
  ASSERT_EQ(other->claim(queue_, leases, 16, kNow), 5u);
  ASSERT_FALSE(worker_->view(late[1], view));
  view.queue = queue_;
  EXPECT_EQ(worker_->succeed(late[1], view, {}, kNow), Settled::kFenced);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(other->view(leases[i], view));
    EXPECT_NE(number_of(view), 0u);
    EXPECT_EQ(other->succeed(leases[i], view, {}, kNow), Settled::kDone);
  }
  EXPECT_EQ(total(*producer_, queue_, Counter::kSucceeded), 6u);
  EXPECT_EQ(broken_invariants(*producer_), "");
}

TEST_F(RunTest, TheItemThatKilledItsProcessIsCountedAlone) {
  enqueue(8);
  Lease leases[16];
  {
    Attached victim(segment_, shm::Role::kWorker);
    ASSERT_EQ(victim->claim(queue_, leases, 16, kNow), 8u);
    TaskView view;
    ASSERT_TRUE(victim->view(leases[3], view));
    ASSERT_EQ(victim->begin(leases[3], view, kNow), Begin::kStart);
    EXPECT_EQ(producer_->redeliver_held(victim.index(), kNow), 1u);
  }
  std::map<std::uint64_t, std::uint32_t> deaths;
  std::uint32_t n = 0;
  while ((n = worker_->claim(queue_, leases, 16, kNow)) != 0) {
    for (std::uint32_t i = 0; i < n; ++i) {
      TaskView view;
      ASSERT_TRUE(worker_->view(leases[i], view));
      deaths[number_of(view)] = view.tally.deaths;
      EXPECT_EQ(worker_->succeed(leases[i], view, {}, kNow), Settled::kDone);
    }
  }
  EXPECT_EQ(deaths.size(), 8u);
  for (const auto& [number, count] : deaths) EXPECT_EQ(count, number == 3 ? 1u : 0u) << "task " << number;
  EXPECT_EQ(broken_invariants(*producer_), "");
}

TEST_F(RunTest, AnItemIsRevokedByItsIdAndTheOthersRun) {
  const auto ids = enqueue(6);
  engine::Control control(*producer_);
  EXPECT_EQ(control.revoke(ids[4], false, kNow), engine::Revoked::kCancelled);
  EXPECT_EQ(control.revoke(ids[4], false, kNow), engine::Revoked::kOver);
  EXPECT_TRUE(engine::Query(*producer_).task(ids[3]).has_value());
  EXPECT_FALSE(engine::Query(*producer_).task(ids[4]).has_value());
  const auto seen = drain(worker_, 64);
  EXPECT_EQ(seen.size(), 5u);
  EXPECT_FALSE(seen.contains(4));
  EXPECT_EQ(broken_invariants(*producer_), "");
}

TEST_F(RunTest, RevokingAnItemAgainAndAgainHarmsNoOther) {
  const auto ids = enqueue(6);
  engine::Control control(*producer_);
  EXPECT_EQ(control.revoke(ids[4], false, kNow), engine::Revoked::kCancelled);
  for (int i = 0; i < 5'000; ++i) ASSERT_EQ(control.revoke(ids[4], false, kNow), engine::Revoked::kOver);
  EXPECT_EQ(slots_in(*segment_, State::kQuarantine), 0u);
  EXPECT_EQ(drain(worker_, 64).size(), 5u);
}

TEST_F(RunTest, PurgeTakesWholeRuns) {
  enqueue(40);
  EXPECT_EQ(engine::Control(*producer_).purge(queue_, kNow), 40u);
  EXPECT_TRUE(drain(worker_, 64).empty());
  EXPECT_EQ(total(*producer_, queue_, Counter::kCancelled), 40u);
  EXPECT_EQ(unsettled(*producer_), "");
}

// Claims everything, and has the first `over` of it over without committing that.
class SharedAck : public RunTest {
 protected:
  void start(Attached& worker, std::uint32_t count, std::uint32_t over) {
    enqueue(count);
    ASSERT_EQ(worker->claim(queue_, leases_, 16, kNow), count);
    for (std::uint32_t i = 0; i < over; ++i) {
      ASSERT_TRUE(worker->view(leases_[i], view_));
      ASSERT_EQ(worker->begin(leases_[i], view_, kNow), Begin::kStart);
      ASSERT_EQ(worker->succeed_later(leases_[i], view_, kNow), Settled::kDone);
    }
  }
  std::uint64_t succeeded() { return total(*producer_, queue_, Counter::kSucceeded); }
  Lease leases_[16];
  TaskView view_;
};

TEST_F(SharedAck, ComesWithTheLastItem) {
  start(worker_, 8, 7);
  EXPECT_EQ(succeeded(), 0u);
  ASSERT_TRUE(worker_->view(leases_[7], view_));
  EXPECT_EQ(worker_->succeed_later(leases_[7], view_, kNow), Settled::kDone);
  EXPECT_EQ(succeeded(), 8u);
  EXPECT_EQ(slots_in(*segment_, State::kLeased), 0u);
  EXPECT_EQ(unsettled(*producer_), "");
}

TEST_F(SharedAck, ComesWithTheNextClaimAndWithTheEndOfTheEngine) {
  start(worker_, 8, 3);
  Lease none;
  EXPECT_EQ(worker_->claim(queue_, &none, 1, kNow), 0u);
  EXPECT_EQ(succeeded(), 3u);
  ASSERT_TRUE(worker_->view(leases_[3], view_));
  EXPECT_EQ(worker_->succeed_later(leases_[3], view_, kNow), Settled::kDone);
  worker_.engine.reset();  // gives back what is not over
  EXPECT_EQ(succeeded(), 4u);
  Attached other(segment_, shm::Role::kWorker);
  EXPECT_EQ(drain(other, 16).size(), 4u);
  EXPECT_EQ(unsettled(*producer_), "");
}

// As every worker with quick handlers does it. (A shift by item - 1 is for the sanitizer to refuse.)
TEST_F(SharedAck, OfASingleTaskItIsAnAcknowledgementLikeAnyOther) {
  Numbered single(queue_, task_, 1);
  ASSERT_EQ(producer_->enqueue(single.spec, kNow).status, EnqueueStatus::kOk);
  ASSERT_EQ(worker_->claim(queue_, leases_, 16, kNow), 1u);
  ASSERT_TRUE(worker_->view(leases_[0], view_));
  EXPECT_EQ(worker_->succeed_later(leases_[0], view_, kNow), Settled::kDone);
  EXPECT_EQ(succeeded(), 1u);
  EXPECT_EQ(unsettled(*producer_), "");
}

TEST_F(SharedAck, ASecondEndOfAnItemIsRefused) {
  start(worker_, 8, 2);
  EXPECT_EQ(worker_->succeed_later(leases_[1], view_, kNow), Settled::kFenced);
  EXPECT_EQ(worker_->commit_acks(), Settled::kDone);
  EXPECT_EQ(worker_->succeed_later(leases_[0], view_, kNow), Settled::kFenced);
  EXPECT_EQ(succeeded(), 2u);
  EXPECT_EQ(total(*producer_, queue_, Counter::kFenced), 2u);
}

TEST_F(SharedAck, AFailureCommitsWhatWasOverBeforeIt) {
  start(worker_, 5, 3);
  bool retried = false;
  ASSERT_TRUE(worker_->view(leases_[3], view_));
  EXPECT_EQ(worker_->fail(leases_[3], view_, {"Error", "no"}, 0, kNow, retried), Settled::kDone);
  EXPECT_TRUE(retried);
  EXPECT_EQ(succeeded(), 3u);
  ASSERT_TRUE(worker_->view(leases_[4], view_));
  EXPECT_EQ(worker_->succeed_later(leases_[4], view_, kNow), Settled::kDone);
  EXPECT_EQ(drain(worker_, 16).size(), 1u);
  EXPECT_EQ(succeeded(), 5u);
  EXPECT_EQ(unsettled(*producer_), "");
}

// The handler's own enqueue drops an item of another run, which is viewed meanwhile; and the run with ends on record is
// lost before the next one is recorded.
TEST_F(SharedAck, ALostRunIsNoticedAfterAnItemOfAnotherWasDropped) {
  start(worker_, 8, 3);
  ASSERT_TRUE(worker_->view(leases_[3], view_));
  ASSERT_EQ(worker_->begin(leases_[3], view_, kNow), Begin::kStart);
  const std::uint32_t bounded = *shm::intern_queue(*segment_, "bounded");
  std::deque<Numbered> numbered;
  for (std::uint64_t n = 100; n < 108; ++n) numbered.emplace_back(bounded, task_, n);
  std::vector<engine::TaskSpec> specs;
  for (Numbered& each : numbered) specs.push_back(each.spec);
  std::size_t done = 0;
  ASSERT_EQ(producer_->enqueue_many(specs.data(), specs.size(), nullptr, done, kNow), EnqueueStatus::kOk);
  engine::Control::Limits limits;
  limits.max_length = 1;
  limits.overflow = static_cast<int>(shm::Overflow::kDropOldest);
  engine::Control(*producer_).set_limits(bounded, limits);
  Numbered child(bounded, task_, 200);
  ASSERT_EQ(worker_->enqueue(child.spec, kNow).status, EnqueueStatus::kOk);
  ASSERT_EQ(total(*producer_, bounded, Counter::kDropped), 1u);

  ASSERT_TRUE(producer_->redeliver(leases_[3].slot, leases_[3].word, 0, engine::LeaseEnd::kSilent, kNow));
  (void)worker_->succeed_later(leases_[3], view_, kNow);
  EXPECT_EQ(worker_->commit_acks(), Settled::kFenced);
  Attached other(segment_, shm::Role::kWorker);
  EXPECT_TRUE(drain(other, 16).contains(3));
}

// Its holder is gone: what was over does not run again, and is counted once, by the next holder.
TEST_F(SharedAck, WhatWasOverIsCarriedOver) {
  Attached victim(segment_, shm::Role::kWorker);
  start(victim, 8, 3);
  ASSERT_TRUE(victim->view(leases_[3], view_));
  ASSERT_EQ(victim->begin(leases_[3], view_, kNow), Begin::kStart);  // this one kills it
  EXPECT_EQ(producer_->redeliver_held(victim.index(), kNow), 1u);
  const auto seen = drain(worker_, 16);
  EXPECT_EQ(seen.size(), 5u);
  for (std::uint64_t number = 0; number < 3; ++number) EXPECT_FALSE(seen.contains(number)) << number;
  EXPECT_EQ(succeeded(), 8u);
  EXPECT_EQ(victim->commit_acks(), Settled::kFenced);
  EXPECT_EQ(succeeded(), 8u);
  EXPECT_EQ(unsettled(*producer_), "");
}

// Claimed by a hint in the wrong queue, and given back as it came.
TEST_F(SharedAck, WhatWasOverIsNotForgottenWhenTheRunGoesBackUnseen) {
  Attached victim(segment_, shm::Role::kWorker);
  start(victim, 8, 3);
  ASSERT_TRUE(producer_->redeliver(leases_[0].slot, leases_[0].word, 0, engine::LeaseEnd::kSilent, kNow));
  const std::uint32_t other = must_queue(*segment_, "other");
  producer_->lanes().push(other, 5, leases_[0].word.generation(), leases_[0].slot);
  Lease none[16];
  EXPECT_EQ(producer_->claim(other, none, 16, kNow), 0u);
  EXPECT_EQ(drain(worker_, 16).size(), 5u);
  EXPECT_EQ(succeeded(), 8u);
}

// The next holder is lost as well before it has looked at the run.
TEST_F(SharedAck, WhatWasOverIsCarriedOverTwice) {
  Attached victim(segment_, shm::Role::kWorker);
  start(victim, 8, 3);
  ASSERT_TRUE(producer_->redeliver(leases_[0].slot, leases_[0].word, 0, engine::LeaseEnd::kSilent, kNow));
  Attached second(segment_, shm::Role::kWorker);
  Lease leases[16];
  ASSERT_EQ(second->claim(queue_, leases, 16, kNow), 5u);
  ASSERT_TRUE(second->view(leases[0], view_));
  EXPECT_EQ(second->succeed_later(leases[0], view_, kNow), Settled::kDone);
  ASSERT_TRUE(producer_->redeliver(leases[0].slot, leases[0].word, 0, engine::LeaseEnd::kSilent, kNow));
  EXPECT_EQ(drain(worker_, 16).size(), 4u);
  EXPECT_EQ(succeeded(), 8u);
  EXPECT_EQ(broken_invariants(*producer_), "");
}

// Its holder goes on, and tells of its progress, between the two steps of the one who takes the run from it.
TEST_F(SharedAck, ProgressDoesNotOverwriteWhatIsCarriedOver) {
  start(worker_, 8, 3);
  auto& carried = segment_->descriptor(leases_[0].slot).tally[1];
  const std::uint64_t bits = shm::TaggedWord(1, 0b111).bits();
  carried.store(bits);
  EXPECT_EQ(engine::set_progress(*worker_, leases_[4], 0.5, ""), Settled::kDone);
  EXPECT_EQ(carried.load(), bits);
}

// A late holder whose end is on record, carried over, and counted by the next: it must not count it again.
TEST_F(SharedAck, ALateHolderIsRefused) {
  Attached late(segment_, shm::Role::kWorker);
  start(late, 8, 3);
  ASSERT_TRUE(producer_->redeliver(leases_[0].slot, leases_[0].word, 0, engine::LeaseEnd::kSilent, kNow));
  EXPECT_EQ(drain(worker_, 16).size(), 5u);
  EXPECT_EQ(late->commit_acks(), Settled::kFenced);
  EXPECT_FALSE(late->view(leases_[4], view_));
  EXPECT_EQ(succeeded(), 8u);
}

TEST_F(SharedAck, RunsThatShareAPlaceInTheEngineDoNotDisturbEachOther) {
  enqueue(15 * 20);  // more runs than an engine keeps
  std::vector<Lease> leases(15 * 20);
  const std::uint32_t n = worker_->claim(queue_, leases.data(), 15 * 20, kNow);
  ASSERT_EQ(n, 15u * 20u);
  std::set<std::uint64_t> seen;
  for (std::uint32_t i = 0; i < 15; ++i) {  // one item of each run by turns
    for (std::uint32_t run = 0; run < 20; ++run) {
      const Lease& lease = leases[run * 15 + i];
      ASSERT_TRUE(worker_->view(lease, view_));
      ASSERT_EQ(worker_->begin(lease, view_, kNow), Begin::kStart);
      EXPECT_TRUE(seen.insert(number_of(view_)).second);
      EXPECT_EQ(worker_->succeed_later(lease, view_, kNow), Settled::kDone);
    }
  }
  EXPECT_EQ(seen.size(), 300u);
  EXPECT_EQ(succeeded(), 300u);
  EXPECT_EQ(unsettled(*producer_), "");
}

// A slot that a run leaves keeps its block for the next run; a single task gives it back.
TEST_F(SharedAck, ABlockThatStaysWithItsSlotIsNeitherLostNorInTheWay) {
  for (int round = 0; round < 50; ++round) {
    start(worker_, 15, 15);
    Numbered single(queue_, task_, 99);
    EXPECT_EQ(producer_->enqueue(single.spec, kNow).status, EnqueueStatus::kOk);
    EXPECT_EQ(drain(worker_, 1).size(), 1u);
    EXPECT_EQ(unsettled(*producer_), "");
  }
}

// A holder that stood still while its slot went through a million lives meets a run with its grant, and with the
// same low bits of the generation.
TEST_F(RunTest, ALateHolderIsRefusedWhenTheTagOfTheMaskHasComeRound) {
  const auto ids = enqueue(4);
  Lease late[16];
  ASSERT_EQ(worker_->claim(queue_, late, 16, kNow), 4u);
  TaskView view;
  ASSERT_TRUE(worker_->view(late[0], view));
  ASSERT_EQ(worker_->begin(late[0], view, kNow), Begin::kStart);
  ASSERT_EQ(worker_->succeed_later(late[0], view, kNow), Settled::kDone);
  ASSERT_TRUE(producer_->redeliver(late[0].slot, late[0].word, 0, engine::LeaseEnd::kSilent, kNow));
  Attached other(segment_, shm::Role::kWorker);
  EXPECT_EQ(drain(other, 16).size(), 3u);
  producer_.participant->drop_reserve();
  const shm::ControlWord word = segment_->descriptor(late[0].slot).control.load();
  ASSERT_EQ(word.state(), State::kFree);
  const std::uint64_t aged = shm::ControlWord(word.generation() + (1u << 20) - 1, 0, 0, State::kFree).bits();
  std::memcpy(static_cast<void*>(&segment_->descriptor(late[0].slot)), &aged, sizeof aged);
  std::uint64_t more = 0;
  for (bool again = false; !again && more < 4'000;) {
    again = enqueue(4).at(0).slot() == late[0].slot;
    more += 4;
  }
  ASSERT_LT(more, 4'000u);
  EXPECT_EQ(worker_->commit_acks(), Settled::kFenced);
  EXPECT_EQ(worker_->succeed(late[1], view, {}, kNow), Settled::kFenced);
  std::uint64_t runs = 0;
  for (const auto& [number, times] : drain(other, 16)) runs += static_cast<std::uint64_t>(times);
  EXPECT_EQ(runs, more);
  EXPECT_EQ(total(*producer_, queue_, Counter::kSucceeded), 4 + more);
}

// Another holder was stopped in the middle of making the copy: nobody knows whether it will ever be there, so the
// item must not go for it.
TEST_F(RunTest, AnItemDoesNotMoveToACopyThatIsNotFinished) {
  const auto ids = enqueue(4);
  Attached late(segment_, shm::Role::kWorker);
  Lease leases[16];
  ASSERT_EQ(late->claim(queue_, leases, 16, kNow), 4u);
  engine::TaskExtras extras;
  extras.unique_key = base::mix64(ids[2].handle ^ 0x72756e206974656dull) | 1;  // as move_out() makes it
  extras.run_item = ids[2].handle;
  Numbered copy(queue_, task_, 2);
  copy.spec.extras = &extras;
  engine::Loan loan;
  ASSERT_EQ(late->loan(copy.spec, 8, loan, kNow), EnqueueStatus::kOk);
  std::memcpy(loan.payload.data(), &copy.number, sizeof copy.number);
  ASSERT_EQ(engine::Unique(*segment_, late->blocks()).acquire(extras.unique_key, loan.slot, loan.word, kNow).status,
            engine::UniqueStatus::kAcquired);
  // Its lease ends; the item fails with the next holder.
  ASSERT_TRUE(producer_->redeliver(leases[0].slot, leases[0].word, 0, engine::LeaseEnd::kSilent, kNow));
  ASSERT_EQ(worker_->claim(queue_, leases, 16, kNow), 4u);
  TaskView view;
  ASSERT_TRUE(worker_->view(leases[2], view));
  ASSERT_EQ(number_of(view), 2u);
  bool retried = false;
  (void)worker_->fail(leases[2], view, {"error", "no"}, 0, kNow, retried);
  for (const int i : {0, 1, 3}) {
    ASSERT_TRUE(worker_->view(leases[i], view));
    EXPECT_EQ(worker_->succeed(leases[i], view, {}, kNow), Settled::kDone);
  }
  late->drop(loan);  // it dies: what it was filling is swept
  const auto seen = drain(worker_, 16);
  EXPECT_EQ(seen.size(), 1u);
  EXPECT_TRUE(seen.contains(2));
  EXPECT_EQ(unsettled(*producer_), "");
}

// What a handler reads stays as it is while it enqueues into a queue that drops its oldest, whatever is dropped.
TEST_F(RunTest, ThePayloadStaysWhileItsHandlerEnqueues) {
  enqueue(15 * 20);  // more runs than an engine keeps
  Lease lease;
  std::vector<Lease> leases(15);
  ASSERT_EQ(worker_->claim(queue_, leases.data(), 15, kNow), 15u);
  TaskView view;
  ASSERT_TRUE(worker_->view(leases[3], view));
  ASSERT_EQ(worker_->begin(leases[3], view, kNow), Begin::kStart);
  const std::uint64_t number = number_of(view);
  engine::Control::Limits limits;
  limits.max_length = 1;
  limits.overflow = static_cast<int>(shm::Overflow::kDropOldest);
  engine::Control(*producer_).set_limits(queue_, limits);
  for (std::uint64_t n = 1000; n < 1300; ++n) {
    Numbered child(queue_, task_, n);
    ASSERT_EQ(worker_->enqueue(child.spec, kNow).status, EnqueueStatus::kOk);
    ASSERT_EQ(number_of(view), number) << n;
  }
  EXPECT_GT(total(*producer_, queue_, Counter::kDropped), 0u);
  for (const Lease& each : leases) {
    ASSERT_TRUE(worker_->view(each, view));
    EXPECT_EQ(worker_->succeed(each, view, {}, kNow), Settled::kDone);
  }
  (void)drain(worker_, 16);
  EXPECT_EQ(broken_invariants(*producer_), "");
}

// Every delivery uses up a grant. The last one makes dead letters of the items that are still there, whether the
// run was given back or its holder died.
TEST_F(RunTest, DeliveredTooOftenItsItemsBecomeDeadLetters) {
  const auto ids = enqueue(8);
  ASSERT_EQ(ids[0].slot(), ids[7].slot()) << "not a run";
  const auto& control = segment_->descriptor(ids[0].slot()).control;
  Lease leases[engine::kRunItems];
  TaskView view;
  ASSERT_EQ(worker_->claim(queue_, leases, engine::kRunItems, kNow), 8u);
  ASSERT_TRUE(worker_->view(leases[1], view));
  ASSERT_EQ(worker_->succeed(leases[1], view, {}, kNow), Settled::kDone);
  std::uint32_t deliveries = 1;
  for (; control.load().state() == State::kLeased; ++deliveries) {
    ASSERT_LE(deliveries, shm::kMaxGrant);
    ASSERT_EQ(worker_->release({leases[0].slot, leases[0].word}, kNow), Settled::kDone);
    (void)worker_->claim(queue_, leases, engine::kRunItems, kNow);
  }
  EXPECT_GT(deliveries, shm::kMaxGrant - 3);
  EXPECT_EQ(slots_in(*segment_, State::kQuarantine), 0u);
  EXPECT_EQ(slots_in(*segment_, State::kDead), 7u);
  engine::DeadLetters letters(*producer_);
  for (const engine::DeadLetter& letter : letters.list({}))
    EXPECT_EQ(letter.failure.reason, static_cast<std::uint8_t>(engine::DeadReason::kDeliveryLimit));
}

}  // namespace
}  // namespace stem::test
