// Concurrency limits: at most N of a task, a key or a queue at once, and no place is ever lost.
#include "engine/dead_letters.hpp"
#include "engine/limiter.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

constexpr std::uint64_t kKey = 11;

class ConcurrencyLimit : public VirtualHost {
 protected:
  static auto limited(std::uint32_t limit, std::uint64_t key = kKey) {
    return [limit, key](TaskSpec&, TaskExtras& extras) {
      extras.concurrency_key = key;
      extras.concurrency_limit = limit;
    };
  }
  void limit_queue(std::uint32_t limit) {
    Control::Limits limits;
    limits.concurrency = limit;
    Control(*producer_).set_limits(queue_, limits);
  }
  // Starts as many as may start now.
  std::vector<Held> start_all() {
    std::vector<Held> running;
    for (int nothing = 0; nothing < 3;) {
      Held held;
      if (worker_->claim(queue_, &held.lease, 1, now_) != 1) {
        ++nothing;
        continue;
      }
      if (worker_->view(held.lease, held.view) && worker_->begin(held.lease, held.view, now_) == Begin::kStart)
        running.push_back(held);
    }
    return running;
  }
  std::uint32_t places(std::uint64_t key = kKey) { return Limiter(*segment_).holders(key); }
};

TEST_F(ConcurrencyLimit, AtMostNAtOnce) {
  for (std::uint64_t n = 0; n < 10; ++n) put(n, limited(3));
  auto running = start_all();
  ASSERT_EQ(running.size(), 3u);
  EXPECT_EQ(places(), 3u);
  std::uint64_t done = 0;
  while (!running.empty()) {
    EXPECT_LE(running.size(), 3u);
    EXPECT_EQ(succeed(running.back()), Settled::kDone);
    ++done;
    running.pop_back();
    for (const Held& next : start_all()) running.push_back(next);  // a waiter was let go at once
  }
  pass(3 * kSecondNs);
  EXPECT_EQ(done + drain().size(), 10u);
  EXPECT_EQ(places(), 0u);
}

TEST_F(ConcurrencyLimit, TheNextStartsAsSoonAsOneEnds) {
  put(1, limited(1));
  put(2, limited(1));
  auto first = start();
  ASSERT_TRUE(first);
  EXPECT_FALSE(start());
  EXPECT_EQ(began_, Begin::kLimited);
  EXPECT_EQ(succeed(*first), Settled::kDone);
  auto second = start();  // no time has passed
  ASSERT_TRUE(second);
  EXPECT_EQ(second->number(), 2u);
  EXPECT_EQ(succeed(*second), Settled::kDone);
}

TEST_F(ConcurrencyLimit, AlsoWhenTheOneEndsOtherwise) {
  put(1, limited(1));
  put(2, limited(1));
  const auto ends = [this](int how, const Held& task) {
    bool retried = false;
    switch (how) {
      case 0: return worker_->fail(task.lease, task.view, {"error", "no"}, kHourNs, now_, retried);
      case 1: return worker_->snooze(task.lease, task.view, kHourNs, now_);
      case 2: return worker_->bury(task.lease, task.view, DeadReason::kPermanentFailure, {"x", "y"}, now_);
      default: return worker_->cancel(task.lease, task.view, shm::Counter::kCancelled, {"x", "y"}, now_);
    }
  };
  for (int how = 0; how < 4; ++how) {
    auto first = start();
    ASSERT_TRUE(first) << how;
    EXPECT_FALSE(start());
    EXPECT_EQ(ends(how, *first), Settled::kDone);
    auto second = start();
    ASSERT_TRUE(second) << "after way " << how << " to end";
    EXPECT_EQ(succeed(*second), Settled::kDone);
    (void)Control(*producer_).purge(queue_, now_);
    put(1, limited(1));
    put(2, limited(1));
  }
  EXPECT_EQ(Control(*producer_).purge(queue_, now_), 2u);
}

TEST_F(ConcurrencyLimit, AWaiterThatWasRevokedDoesNotHoldTheNextUp) {
  put(1, limited(1));
  const TaskId revoked = put(2, limited(1));
  put(3, limited(1));
  auto first = start();
  ASSERT_TRUE(first);
  EXPECT_FALSE(start());
  EXPECT_FALSE(start());
  EXPECT_EQ(Control(*producer_).revoke(revoked, false, now_), Revoked::kCancelled);
  EXPECT_EQ(succeed(*first), Settled::kDone);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{3}));
}

TEST_F(ConcurrencyLimit, KeysAreApart) {
  for (std::uint64_t n = 0; n < 12; ++n) put(n, limited(2, 100 + n % 3));
  auto running = start_all();
  EXPECT_EQ(running.size(), 6u);
  for (const Held& task : running) EXPECT_EQ(succeed(task), Settled::kDone);
  pass(3 * kSecondNs);
  EXPECT_EQ(drain().size(), 6u);
}

TEST_F(ConcurrencyLimit, AQueueHasOneForAllItsTasks) {
  put_many(0, 15);  // a run
  limit_queue(2);
  for (std::uint64_t n = 15; n < 20; ++n) put(n, limited(1));
  auto running = start_all();
  EXPECT_EQ(running.size(), 2u);
  for (const Held& task : running) EXPECT_EQ(succeed(task), Settled::kDone);
  std::uint64_t done = 2;
  for (int i = 0; i < 100 && done < 20; ++i) {
    running = start_all();
    EXPECT_LE(running.size(), 2u);
    for (const Held& task : running) EXPECT_EQ(succeed(task), Settled::kDone);
    done += running.size();
    pass(100 * kMillisecondNs);
  }
  EXPECT_EQ(done, 20u);
}

TEST_F(ConcurrencyLimit, ADeadHoldersPlaceIsFree) {
  for (std::uint64_t n = 0; n < 40; ++n) put(n, limited(2));
  for (int death = 0; death < 5; ++death) {  // each holds both places and dies
    test::Attached victim(segment_, shm::Role::kWorker);
    ASSERT_TRUE(start(victim));
    ASSERT_TRUE(start(victim));
    EXPECT_FALSE(start(victim));
    EXPECT_EQ(places(), 2u);
    (void)producer_->redeliver_held(victim.index(), now_);
    EXPECT_EQ(places(), 0u);
  }
  auto running = start_all();
  EXPECT_EQ(running.size(), 2u);
  for (const Held& task : running) EXPECT_EQ(succeed(task), Settled::kDone);
  std::uint64_t done = 2;
  for (int i = 0; i < 100; ++i) {
    done += drain().size();
    pass(100 * kMillisecondNs);
  }
  EXPECT_EQ(done, 40u);
}

TEST_F(ConcurrencyLimit, SoIsThePlaceOfALateOne) {
  put(1, [](TaskSpec& spec, TaskExtras& extras) {
    limited(1)(spec, extras);
    spec.auto_renew = false;
    extras.visibility_ns = kSecondNs;
  });
  put(2, limited(1));
  auto late = start();
  ASSERT_TRUE(late);
  pass(2 * kSecondNs);
  EXPECT_FALSE(worker_->holds(late->lease));
  auto next = start();
  ASSERT_TRUE(next);
  EXPECT_EQ(succeed(*late), Settled::kFenced);
  EXPECT_EQ(places(), 1u) << "the late one's acknowledgement took nobody's place away";
  EXPECT_EQ(succeed(*next), Settled::kDone);
  pass(3 * kSecondNs);
  EXPECT_EQ(drain().size(), 1u);
}

// Held back is not delivered: a task may wait behind a limit for as long as it takes.
TEST_F(ConcurrencyLimit, WaitingForHoursUsesNothingUp) {
  put(1, limited(1));
  auto running = start();
  ASSERT_TRUE(running);
  const TaskId waiting = put(2, limited(1));
  for (int looks = 0; looks < 10'000; ++looks) {
    EXPECT_FALSE(start());
    ASSERT_EQ(state_of(waiting), "delayed") << "after " << looks << " looks";
    now_ += 3 * kSecondNs;
    worker_->self().beat();
    (void)keeper_.step(now_);
  }
  EXPECT_EQ(succeed(*running), Settled::kDone);
  auto at_last = start();
  ASSERT_TRUE(at_last);
  EXPECT_EQ(at_last->view.id, waiting);
  EXPECT_EQ(at_last->view.tally.attempts, 0u);
  EXPECT_TRUE(fail(*at_last, "error", "no", 0)) << "all its attempts are still there";
  EXPECT_EQ(drain().size(), 1u);
  EXPECT_EQ(count(shm::Counter::kDeadAdded), 0u);
}

// Looks grow rare. A waiter that was let go and found the place taken again waits its whole time: what was
// noted about the wait before does not end this one.
TEST_F(ConcurrencyLimit, ALaterWaitIsNotCutShortByAnEarlierOne) {
  put(1, limited(1));
  auto running = start();
  ASSERT_TRUE(running);
  const TaskId waiting = put(2, limited(1));
  const auto wait_ns = [&] { return producer_->due_ns(waiting.slot(), descriptor(waiting).control.load()) - now_; };
  constexpr std::int64_t kLongestNs = 64 * kMillisecondNs;
  for (int i = 0; i < 15; ++i) {
    EXPECT_FALSE(start());
    ASSERT_GT(wait_ns(), 0);
    pass(wait_ns() + 1'000);
  }
  EXPECT_FALSE(start());
  ASSERT_GE(wait_ns(), kLongestNs);
  ASSERT_LT(wait_ns(), 2 * kLongestNs);
  pass(kLongestNs / 2);
  put(3, limited(1));
  EXPECT_EQ(succeed(*running), Settled::kDone);  // lets it go
  running = start();
  ASSERT_TRUE(running);
  ASSERT_EQ(running->number(), 3u) << "who came between";
  EXPECT_FALSE(start());
  ASSERT_GE(wait_ns(), kLongestNs);
  pass(kLongestNs - kMillisecondNs);
  EXPECT_EQ(state_of(waiting), "delayed") << "the first wait would be over";
  EXPECT_EQ(succeed(*running), Settled::kDone);
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(ConcurrencyLimit, ALimitThatIsLoweredCountsThoseWhoRun) {
  limit_queue(10);
  for (std::uint64_t n = 0; n < 20; ++n) put(n);
  auto running = start_all();
  ASSERT_EQ(running.size(), 10u);
  limit_queue(3);
  // Those in the first places end first; the rest is still more than the limit.
  for (int i = 0; i < 7; ++i) {
    EXPECT_TRUE(start_all().empty()) << i << " have ended";
    EXPECT_EQ(succeed(running[static_cast<std::size_t>(i)]), Settled::kDone);
    pass(3 * kSecondNs);
  }
  EXPECT_EQ(succeed(running[7]), Settled::kDone);
  auto next = start_all();
  EXPECT_EQ(next.size(), 1u);
  for (const Held& task : next) EXPECT_EQ(succeed(task), Settled::kDone);
  for (int i = 8; i < 10; ++i) EXPECT_EQ(succeed(running[static_cast<std::size_t>(i)]), Settled::kDone);
  std::uint64_t done = 0;
  for (int i = 0; i < 100; ++i) {
    done += drain().size();
    pass(100 * kMillisecondNs);
  }
  EXPECT_EQ(done, 9u);
}

TEST_F(ConcurrencyLimit, WithARateItWaitsForBothAndPaysOnce) {
  const auto both = [](TaskSpec& spec, TaskExtras& extras) {
    limited(1)(spec, extras);
    extras.rate_key = 3;
    extras.rate = {1, 60};
  };
  put(1, both);
  put(2, both);
  auto first = start();
  ASSERT_TRUE(first);
  EXPECT_FALSE(start()) << "the rate";
  pass(61 * kSecondNs);
  EXPECT_FALSE(start()) << "the place";
  EXPECT_EQ(succeed(*first), Settled::kDone);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{2})) << "its token was paid";
}

TEST_F(ConcurrencyLimit, ManyBehindOnePlaceAllGetThere) {
  constexpr std::uint64_t kTasks = 300;
  for (std::uint64_t n = 0; n < kTasks; ++n) put(n, limited(1));
  std::uint64_t done = 0;
  std::optional<Held> running;
  for (int i = 0; i < 20'000 && done < kTasks; ++i) {
    if (!running) running = start();
    auto second = start();
    ASSERT_FALSE(running && second) << "two at once";
    if (!running && second) running = second;
    if (running && i % 3 == 0) {
      EXPECT_EQ(succeed(*running), Settled::kDone);
      running.reset();
      ++done;
    }
    pass(10 * kMillisecondNs);
  }
  EXPECT_EQ(done, kTasks);
}

}  // namespace
}  // namespace stem::engine
