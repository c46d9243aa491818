// The dead-letter queue: what an entry keeps, how it is found, and how it leaves.
#include "engine/dead_letters.hpp"

#include <set>

#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class DeadLetterTest : public VirtualHost {
 protected:
  // A task that failed for good.
  TaskId kill(std::uint64_t number, DeadReason reason = DeadReason::kPermanentFailure, std::string_view kind = "io",
              std::string_view message = "refused") {
    const TaskId id = put(number);
    bury_next(reason, kind, message);
    return id;
  }
  void bury_next(DeadReason reason = DeadReason::kPermanentFailure, std::string_view kind = "io",
                 std::string_view message = "refused") {
    auto task = start();
    ASSERT_TRUE(task);
    ASSERT_EQ(worker_->bury(task->lease, task->view, reason, {kind, message}, now_), Settled::kDone);
  }
  std::vector<DeadLetter> list(const DeadFilter& filter = {}) { return DeadLetters(*producer_).list(filter); }
};

TEST_F(DeadLetterTest, AnEntryKeepsTheWholeTask) {
  const TaskId id = put(1, [](TaskSpec& spec, TaskExtras& extras) {
    spec.max_retries = 0;
    extras.headers = "{\"tenant\":\"a\"}";
  });
  pass(kSecondNs);
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_FALSE(fail(*task, "io", "refused\nat line 3"));
  const auto letters = list();
  ASSERT_EQ(letters.size(), 1u);
  const DeadLetter& letter = letters[0];
  EXPECT_EQ(letter.id, id);
  EXPECT_EQ(letter.queue, queue_);
  EXPECT_EQ(letter.task, task_);
  EXPECT_EQ(letter.failure.at_ns, now_);
  EXPECT_EQ(letter.failure.attempts, 1u);
  EXPECT_EQ(letter.failure.worker, worker_.index());
  EXPECT_EQ(letter.failure.kind(), "io");
  EXPECT_EQ(letter.failure.message(), "refused\nat line 3");
  const auto info = Query(*producer_).task(id);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->state_name, "dead");
  EXPECT_EQ(info->headers, "{\"tenant\":\"a\"}");
  EXPECT_EQ(info->payload.size(), sizeof(std::uint64_t));
  ASSERT_TRUE(info->failure);
}

TEST_F(DeadLetterTest, LookAlikesShareAFingerprint) {
  kill(1, DeadReason::kPermanentFailure, "io", "refused\nby a");
  kill(2, DeadReason::kPermanentFailure, "io", "refused\nby b");
  kill(3, DeadReason::kPermanentFailure, "io", "reset");
  kill(4, DeadReason::kPermanentFailure, "bug", "refused");
  std::set<std::uint64_t> prints;
  for (const DeadLetter& letter : list()) prints.insert(letter.failure.fingerprint);
  EXPECT_EQ(prints.size(), 3u);
  DeadFilter same;
  same.fingerprint = failure_fingerprint(task_, "io", "refused");
  EXPECT_EQ(list(same).size(), 2u);
}

TEST_F(DeadLetterTest, EachIsCountedUnderItsReason) {
  kill(1);
  kill(2, DeadReason::kPayloadInvalid);
  kill(3, DeadReason::kSignatureInvalid);
  kill(4, DeadReason::kPayloadInvalid);
  std::string by;
  for (std::uint32_t i = 0; i < kDeadReasons; ++i)
    if (const auto n = count(shm::counter_after(shm::Counter::kDeadAddedFirst, i)); n != 0)
      by += std::string(to_string(static_cast<DeadReason>(i + 1))) + ' ' + std::to_string(n) + ' ';
  EXPECT_EQ(by, "permanent-failure 1 signature-invalid 1 payload-invalid 2 ");
  EXPECT_EQ(count(shm::Counter::kDeadAdded), 4u);
  EXPECT_EQ(count(shm::Counter::kSignatureInvalid), 1u);
}

TEST_F(DeadLetterTest, FiltersTakeTheirPart) {
  const TaskId first = kill(1);
  pass(kSecondNs);
  const std::int64_t later = now_;
  kill(2, DeadReason::kPayloadInvalid);
  pass(kSecondNs);
  kill(3, DeadReason::kUnregisteredTask);
  DeadFilter filter;
  filter.id = first;
  EXPECT_EQ(list(filter).size(), 1u);
  filter = {};
  filter.reason = static_cast<std::uint8_t>(DeadReason::kPayloadInvalid);
  EXPECT_EQ(list(filter).size(), 1u);
  filter = {};
  filter.since_ns = later;
  EXPECT_EQ(list(filter).size(), 2u);
  filter = {};
  filter.queue = queue_ + 1;
  EXPECT_TRUE(list(filter).empty());
  const auto all = list();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].id, first) << "oldest death first";
  EXPECT_LT(all[1].failure.at_ns, all[2].failure.at_ns);
}

// A listing is also the dry run: it changes nothing.
TEST_F(DeadLetterTest, LookingChangesNothing) {
  const TaskId id = kill(1);
  const shm::ControlWord word = descriptor(id).control.load();
  const std::string before = tally();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(list().size(), 1u);
  EXPECT_EQ(descriptor(id).control.load(), word);
  EXPECT_EQ(tally(), before);
}

TEST_F(DeadLetterTest, AReplayedTaskBeginsAnew) {
  const TaskId id = put(1, [](TaskSpec& spec) { spec.max_retries = 1; });
  for (int i = 0; i < 2; ++i) {
    auto task = start();
    ASSERT_TRUE(task);
    (void)fail(*task, "error", "no", 0);
  }
  const auto letters = list();
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_TRUE(DeadLetters(*producer_).replay(letters[0], 10 * kSecondNs, now_));
  EXPECT_FALSE(DeadLetters(*producer_).replay(letters[0], 0, now_)) << "it is no dead letter any more";
  EXPECT_FALSE(DeadLetters(*producer_).purge(letters[0]));
  EXPECT_TRUE(list().empty());
  EXPECT_EQ(state_of(id), "delayed");
  EXPECT_FALSE(start());
  pass(11 * kSecondNs);
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(task->view.id, id);
  EXPECT_EQ(task->view.tally.attempts, 0u);
  EXPECT_TRUE(fail(*task, "error", "no", 0)) << "its retries are there again";
  EXPECT_EQ(drain().size(), 1u);
  EXPECT_EQ(tally(), "enqueued 1 started 4 succeeded 1 failed 3 retried 2 dead-added 1 dead-replayed 1");
}

TEST_F(DeadLetterTest, APoisonPillThatIsReplayedMayKillThreeTimesAgain) {
  const TaskId id = put(1);
  const auto die = [this] {
    test::Attached victim(segment_, shm::Role::kWorker);
    if (!start(victim)) return false;
    (void)producer_->redeliver_held(victim.index(), now_);
    return true;
  };
  for (int round = 0; round < 2; ++round) {
    for (std::uint32_t i = 0; i < kPoisonLimit; ++i) EXPECT_TRUE(die());
    EXPECT_FALSE(die());
    ASSERT_EQ(state_of(id), "dead");
    ASSERT_TRUE(DeadLetters(*producer_).replay(list().at(0), 0, now_));
  }
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(DeadLetterTest, ATaskThatUsedUpItsGrantsCannotBeReplayedOnlyPurged) {
  put(1);
  while (auto task = start()) ASSERT_EQ(worker_->snooze(task->lease, task->view, 0, now_), Settled::kDone);
  const auto letters = list();
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_FALSE(DeadLetters(*producer_).replay(letters[0], 0, now_));
  EXPECT_TRUE(DeadLetters(*producer_).purge(letters[0]));
}

TEST_F(DeadLetterTest, APurgedEntryIsGoneAndCounted) {
  const TaskId id = kill(1);
  EXPECT_TRUE(DeadLetters(*producer_).purge(list().at(0)));
  EXPECT_EQ(state_of(id), "gone");
  EXPECT_EQ(tally(), "enqueued 1 started 1 failed 1 dead-added 1 dead-purged 1");
}

TEST_F(DeadLetterTest, RetentionEndsThemByAge) {
  Control::Limits limits;
  limits.dead_retention_ns = kHourNs;
  Control(*producer_).set_limits(queue_, limits);
  kill(1);
  pass(kHourNs / 2);
  kill(2);
  pass(kHourNs / 2 + 2 * kSecondNs);
  ASSERT_EQ(list().size(), 1u);
  EXPECT_EQ(count(shm::Counter::kDeadPurged), 1u);
  pass(kHourNs / 2);
  EXPECT_TRUE(list().empty());
  EXPECT_EQ(tally(), "enqueued 2 started 2 failed 2 dead-added 2 dead-purged 2");
}

TEST_F(DeadLetterTest, SevenDaysAreTheDefault) {
  kill(1);
  now_ += kDefaultDeadRetentionNs - kSecondNs;
  patrol();
  EXPECT_EQ(list().size(), 1u);
  now_ += 2 * kSecondNs;
  patrol();
  EXPECT_TRUE(list().empty());
}

TEST_F(DeadLetterTest, TheOldestGiveWayWhenAQueueMayKeepOnlySome) {
  Control::Limits limits;
  limits.dead_max = 3;
  Control(*producer_).set_limits(queue_, limits);
  for (std::uint64_t n = 0; n < 8; ++n) {
    kill(n);
    now_ += kMillisecondNs;
  }
  patrol();
  const auto letters = list();
  ASSERT_EQ(letters.size(), 3u);
  EXPECT_EQ(letters[0].failure.at_ns, now_ - 3 * kMillisecondNs);
  EXPECT_EQ(count(shm::Counter::kDeadPurged), 5u);
  // Each queue has its own bound; this one has none.
  queue_ = test::must_queue(*segment_, "other");
  for (std::uint64_t n = 0; n < 8; ++n) kill(n);
  patrol();
  EXPECT_EQ(list().size(), 11u);
}

// /dev/shm was full when it died: no record could be kept, but the task is.
TEST_F(DeadLetterTest, WithoutAFailureRecordItIsKeptAsLong) {
  now_ += 2 * kDefaultDeadRetentionNs;  // the host has been up for a fortnight
  const TaskId id = kill(1);
  descriptor(id).outcome.store(0);
  ASSERT_EQ(list().size(), 1u);
  EXPECT_EQ(list()[0].failure.kind(), "unknown");
  patrol();
  EXPECT_EQ(list().size(), 1u) << "its retention has not ended";
  EXPECT_TRUE(DeadLetters(*producer_).replay(list().at(0), 0, now_));
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(DeadLetterTest, AnItemOfARunDiesAlone) {
  put_many(0, 10);
  Lease leases[10];
  ASSERT_EQ(worker_->claim(queue_, leases, 10, now_), 10u);
  for (int i = 0; i < 10; ++i) {
    TaskView view;
    ASSERT_TRUE(worker_->view(leases[i], view));
    if (i % 2 == 0) {
      EXPECT_EQ(worker_->succeed(leases[i], view, {}, now_), Settled::kDone);
    } else {
      EXPECT_EQ(worker_->bury(leases[i], view, DeadReason::kPayloadInvalid, {"x", "y"}, now_), Settled::kDone);
    }
  }
  EXPECT_EQ(list().size(), 5u);
  for (const DeadLetter& letter : list()) EXPECT_TRUE(DeadLetters(*producer_).replay(letter, 0, now_));
  // They died at the same moment: their order is that of their slots.
  const std::vector<std::uint64_t> ran = drain();
  EXPECT_EQ(std::multiset<std::uint64_t>(ran.begin(), ran.end()), (std::multiset<std::uint64_t>{1, 3, 5, 7, 9}));
  EXPECT_EQ(tally(), "enqueued 10 started 5 succeeded 10 dead-added 5 dead-replayed 5");
}

}  // namespace
}  // namespace stem::engine
