// Unique tasks: one live task for each key, whoever asks first.
#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "engine/dead_letters.hpp"
#include "engine/unique.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class UniqueTest : public VirtualHost {
 protected:
  static auto unique(std::uint64_t key, std::int64_t for_ns = 0) {
    return [key, for_ns](TaskSpec&, TaskExtras& extras) {
      extras.unique_key = key;
      extras.unique_for_ns = for_ns;
    };
  }
  // True when the key is taken, and the answer names its holder.
  bool taken(std::uint64_t key, TaskId by) {
    const EnqueueResult again = offer(99, unique(key));
    if (again.status == EnqueueStatus::kOk) {
      EXPECT_EQ(Control(*producer_).revoke(again.id, false, now_), Revoked::kCancelled);
      return false;
    }
    EXPECT_EQ(again.status, EnqueueStatus::kDuplicate);
    EXPECT_EQ(again.id, by);
    return true;
  }
};

TEST_F(UniqueTest, ADuplicateCreatesNothingAndNamesTheHolder) {
  const TaskId holder = put(1, unique(5));
  const auto again = offer(2, unique(5));
  EXPECT_EQ(again.status, EnqueueStatus::kDuplicate);
  EXPECT_EQ(again.id, holder);
  put(3, unique(6));
  put(4);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1, 3, 4}));
  EXPECT_EQ(tally(), "enqueued 3 started 3 succeeded 3 deduplicated 1");
}

TEST_F(UniqueTest, TheKeyIsHeldUntilTheTaskIsOver) {
  const TaskId id = put(1, [this](TaskSpec& spec, TaskExtras& extras) {
    extras.unique_key = 5;
    spec.due_ns = now_ + kSecondNs;
    spec.max_retries = 1;
  });
  EXPECT_TRUE(taken(5, id)) << "delayed";
  pass(2 * kSecondNs);
  EXPECT_TRUE(taken(5, id)) << "ready";
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_TRUE(taken(5, id)) << "running";
  EXPECT_TRUE(fail(*task, "error", "no", kSecondNs));
  EXPECT_TRUE(taken(5, id)) << "waiting for its retry";
  pass(2 * kSecondNs);
  task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(worker_->snooze(task->lease, task->view, 0, now_), Settled::kDone);
  EXPECT_TRUE(taken(5, id)) << "snoozed";
  task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(succeed(*task), Settled::kDone);
  EXPECT_FALSE(taken(5, id)) << "over";
}

TEST_F(UniqueTest, EveryEndFreesTheKey) {
  const TaskId kept = put(1, [](TaskSpec& spec, TaskExtras& extras) {
    extras.unique_key = 1;
    spec.keep_result = true;
  });
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(succeed(*task, "result"), Settled::kDone);
  EXPECT_FALSE(taken(1, kept)) << "its result is kept, the task is over";
  const TaskId dead = put(2, unique(2));
  task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(worker_->bury(task->lease, task->view, DeadReason::kPermanentFailure, {"x", "y"}, now_), Settled::kDone);
  EXPECT_FALSE(taken(2, dead));
  const TaskId revoked = put(3, unique(3));
  EXPECT_EQ(Control(*producer_).revoke(revoked, false, now_), Revoked::kCancelled);
  EXPECT_FALSE(taken(3, revoked));
}

TEST_F(UniqueTest, ATimeToLiveFreesItEarlier) {
  const TaskId id = put(1, unique(5, 10 * kSecondNs));
  pass(9 * kSecondNs);
  EXPECT_TRUE(taken(5, id));
  pass(2 * kSecondNs);
  put(2, unique(5));
  EXPECT_EQ(drain().size(), 2u);
}

TEST_F(UniqueTest, ADeadWorkersTaskKeepsItsKey) {
  const TaskId id = put(1, unique(5));
  {
    test::Attached victim(segment_, shm::Role::kWorker);
    ASSERT_TRUE(start(victim));
    (void)producer_->redeliver_held(victim.index(), now_);
  }
  EXPECT_TRUE(taken(5, id));
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(UniqueTest, AReplayedTaskIsUniqueAgain) {
  const auto kill = [this](std::uint64_t key) {
    const TaskId id = put(1, unique(key));
    auto task = start();
    EXPECT_TRUE(task);
    EXPECT_EQ(worker_->bury(task->lease, task->view, DeadReason::kPermanentFailure, {"x", "y"}, now_), Settled::kDone);
    return id;
  };
  const TaskId id = kill(5);
  ASSERT_TRUE(DeadLetters(*producer_).replay(DeadLetters(*producer_).list({}).at(0), 0, now_));
  EXPECT_TRUE(taken(5, id));
  EXPECT_EQ(drain().size(), 1u);
  // Another one has its key by now: there are never two.
  (void)kill(6);
  const TaskId other = put(2, unique(6));
  EXPECT_FALSE(DeadLetters(*producer_).replay(DeadLetters(*producer_).list({}).at(0), 0, now_));
  EXPECT_TRUE(taken(6, other));
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{2}));
  EXPECT_TRUE(DeadLetters(*producer_).replay(DeadLetters(*producer_).list({}).at(0), 0, now_)) << "now it is free";
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1}));
}

TEST_F(UniqueTest, InABatchADuplicateIsAnAnswerAndNoError) {
  test::Numbered first(queue_, task_, 1), second(queue_, task_, 2), third(queue_, task_, 3);
  TaskExtras same;
  same.unique_key = 5;
  first.spec.extras = second.spec.extras = &same;
  const TaskSpec specs[] = {first.spec, second.spec, third.spec};
  TaskId ids[3];
  std::size_t done = 0;
  EXPECT_EQ(producer_->enqueue_many(specs, 3, ids, done, now_), EnqueueStatus::kOk);
  EXPECT_EQ(done, 3u);
  EXPECT_EQ(ids[0], ids[1]);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1, 3}));
}

TEST_F(UniqueTest, ALoanThatIsADuplicateIsGivenBack) {
  const TaskId holder = put(1, unique(5));
  TaskExtras extras;
  extras.unique_key = 5;
  TaskSpec spec;
  spec.queue = queue_;
  spec.task = task_;
  spec.extras = &extras;
  Loan loan;
  ASSERT_EQ(producer_->loan(spec, 100'000, loan, now_), EnqueueStatus::kOk);
  const auto made = producer_->publish(loan, now_);
  EXPECT_EQ(made.status, EnqueueStatus::kDuplicate);
  EXPECT_EQ(made.id, holder);
  EXPECT_EQ(drain().size(), 1u);
  EXPECT_EQ(count(shm::Counter::kDeduplicated), 1u);
}

TEST_F(UniqueTest, AsManyKeysAsThereAreSlots) {
  std::uint64_t accepted = 0, refused = 0;
  for (std::uint64_t n = 0; n < segment_->geometry().slot_count; ++n) {
    const auto made = offer(n, unique(n * 0x9e3779b97f4a7c15ull + 1));
    ++(made.status == EnqueueStatus::kOk ? accepted : refused);
  }
  // A bucket of the key table may be full by chance: one key in 100,000 or so, when every slot is a unique task.
  EXPECT_LE(refused, 2u);
  EXPECT_EQ(drain().size(), accepted);
}

// Two producers offer the same keys at the same time, while a worker ends tasks: never are two of one key
// alive, and each key gets through.
TEST_F(UniqueTest, TwoProducersNeverGetTheSameKey) {
  constexpr std::uint64_t kKeys = 8;
  constexpr int kRounds = 20'000;
  std::atomic<std::uint64_t> accepted{0}, duplicates{0};
  std::atomic<int> producing{2};
  const auto produce = [&] {
    test::Attached mine(segment_);
    for (int i = 0; i < kRounds; ++i) {
      test::Numbered task(queue_, task_, static_cast<std::uint64_t>(i) % kKeys);
      TaskExtras extras;
      extras.unique_key = 1 + task.number;
      task.spec.extras = &extras;
      const auto made = mine->enqueue(task.spec, now_);
      if (made.status == EnqueueStatus::kOk) ++accepted;
      if (made.status == EnqueueStatus::kDuplicate) ++duplicates;
    }
    --producing;
  };
  std::thread one(produce), two(produce);
  std::uint64_t ran = 0;
  int over = 0;
  while (over < 2) {
    if (producing.load() == 0) ++over;
    // All that are alive at one moment, as far as this worker can hold them: no number twice.
    std::set<std::uint64_t> numbers;
    Lease leases[16];
    std::vector<Held> held;
    while (const std::uint32_t n = worker_->claim(queue_, leases, 16, now_)) {
      for (std::uint32_t i = 0; i < n; ++i) {
        Held task;
        task.lease = leases[i];
        ASSERT_TRUE(worker_->view(task.lease, task.view));
        ASSERT_TRUE(numbers.insert(task.number()).second) << "two tasks of key " << task.number();
        held.push_back(task);
      }
      if (held.size() >= kKeys) break;
    }
    for (const Held& task : held) ASSERT_EQ(succeed(task), Settled::kDone);
    ran += held.size();
  }
  one.join();
  two.join();
  ran += drain().size();
  EXPECT_EQ(ran, accepted.load());
  EXPECT_EQ(accepted + duplicates, 2u * kRounds);
  EXPECT_GE(accepted.load(), kKeys);
  EXPECT_GT(duplicates.load(), 0u);
  EXPECT_EQ(count(shm::Counter::kDeduplicated), duplicates.load());
}

}  // namespace
}  // namespace stem::engine
