// What a task leaves behind: its result for a while, and the tasks that follow it.
#include "engine/dead_letters.hpp"
#include "engine/links.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class Result : public VirtualHost {
 protected:
  ResultState read(TaskId id) { return read_result(*producer_, id, bytes_, failure_); }
  std::string text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  // One encoded follower with this number.
  std::string follower(std::uint64_t number, std::uint32_t queue) {
    test::Numbered child(queue, task_, number);
    std::string encoded;
    append_link(encoded, child.spec);
    return encoded;
  }
  std::vector<std::byte> bytes_;
  FailureRecord failure_;
};

TEST_F(Result, AResultIsKeptForItsTime) {
  const TaskId id = put(1, [](TaskSpec& spec, TaskExtras& extras) {
    spec.keep_result = true;
    extras.result_ttl_ns = 10 * kSecondNs;
  });
  const TaskId day = put(2, [](TaskSpec& spec) { spec.keep_result = true; });
  for (int i = 0; i < 2; ++i) {
    auto task = start();
    ASSERT_TRUE(task);
    EXPECT_EQ(succeed(*task, std::to_string(task->number())), Settled::kDone);
  }
  pass(9 * kSecondNs);
  ASSERT_EQ(read(id), ResultState::kSucceeded);
  EXPECT_EQ(text(), "1");
  pass(2 * kSecondNs);
  EXPECT_EQ(read(id), ResultState::kGone);
  ASSERT_EQ(read(day), ResultState::kSucceeded);
  EXPECT_EQ(text(), "2");
  now_ += kDefaultResultTtlNs;
  patrol();
  EXPECT_EQ(read(day), ResultState::kGone);
  EXPECT_EQ(slots(shm::State::kDone), 0u);
}

TEST_F(Result, NothingIsKeptUnasked) {
  const TaskId id = put(1);
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(succeed(*task, "unwanted"), Settled::kDone);
  EXPECT_EQ(read(id), ResultState::kGone);
}

TEST_F(Result, EverySizeIsKeptWhole) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{200}, std::size_t{70'000}, std::size_t{1u << 20}}) {
    const TaskId id = put(1, [](TaskSpec& spec) { spec.keep_result = true; });
    auto task = start();
    ASSERT_TRUE(task);
    const std::string result(size, 'r');
    ASSERT_EQ(succeed(*task, result), Settled::kDone);
    ASSERT_EQ(read(id), ResultState::kSucceeded) << size;
    EXPECT_EQ(text(), result);
  }
}

TEST_F(Result, OneThatIsTooLargeIsAFailureForGood) {
  const TaskId id = put(1, [](TaskSpec& spec) { spec.keep_result = true; });
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(succeed(*task, std::string((1u << 20) + 1, 'r')), Settled::kDone);
  EXPECT_EQ(read(id), ResultState::kDead);
  EXPECT_EQ(failure_.kind(), "result-too-large");
  EXPECT_EQ(count(shm::Counter::kSucceeded), 0u);
}

TEST_F(Result, TheLastAttemptsResultCounts) {
  const TaskId id = put(1, [](TaskSpec& spec) { spec.keep_result = true; });
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_TRUE(fail(*task, "io", "refused", 0));
  EXPECT_EQ(read(id), ResultState::kPending) << "a failed attempt is no result";
  task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(succeed(*task, "fine"), Settled::kDone);
  ASSERT_EQ(read(id), ResultState::kSucceeded);
  EXPECT_EQ(text(), "fine");
}

TEST_F(Result, ADeadTaskSaysWhy) {
  const TaskId id = put(1, [](TaskSpec& spec) { spec.keep_result = true, spec.max_retries = 0; });
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_FALSE(fail(*task, "io", "refused"));
  EXPECT_EQ(read(id), ResultState::kDead);
  EXPECT_EQ(failure_.message(), "refused");
  ASSERT_TRUE(DeadLetters(*producer_).replay(DeadLetters(*producer_).list({}).at(0), 0, now_));
  EXPECT_EQ(read(id), ResultState::kPending);
  task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(succeed(*task, "at last"), Settled::kDone);
  ASSERT_EQ(read(id), ResultState::kSucceeded);
  EXPECT_EQ(text(), "at last");
}

TEST_F(Result, FollowersOfSuccessAreEnqueuedAfterIt) {
  const std::uint32_t other = test::must_queue(*segment_, "other");
  const std::string link = follower(10, queue_) + follower(11, other);
  const std::string link_error = follower(20, queue_);
  const TaskId parent = put(1, [&](TaskSpec&, TaskExtras& extras) {
    extras.link = link;
    extras.link_error = link_error;
  });
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_FALSE(start());
  EXPECT_TRUE(fail(*task, "error", "no", 0)) << "a retry is no end";
  task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(task->number(), 1u);
  EXPECT_EQ(succeed(*task), Settled::kDone);
  auto child = start();
  ASSERT_TRUE(child);
  EXPECT_EQ(child->number(), 10u);
  EXPECT_NE(child->view.extras.meta.find(to_string(parent)), std::string_view::npos) << child->view.extras.meta;
  EXPECT_EQ(succeed(*child), Settled::kDone);
  EXPECT_FALSE(start());
  EXPECT_EQ(tally(), "enqueued 2 started 3 succeeded 2 failed 1 retried 1");
  queue_ = other;
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{11}));
}

TEST_F(Result, FollowersOfFailureComeWithTheDeadLetter) {
  const std::string link = follower(10, queue_), link_error = follower(20, queue_);
  const TaskId parent = put(1, [&](TaskSpec& spec, TaskExtras& extras) {
    extras.link = link;
    extras.link_error = link_error;
    spec.max_retries = 0;
  });
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_FALSE(fail(*task));
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{20}));
  EXPECT_EQ(state_of(parent), "dead");
  ASSERT_TRUE(DeadLetters(*producer_).replay(DeadLetters(*producer_).list({}).at(0), 0, now_));
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1, 10}));
}

TEST_F(Result, ARevokedTaskHasNoFollowers) {
  const std::string link = follower(10, queue_);
  const TaskId parent = put(1, [&](TaskSpec&, TaskExtras& extras) { extras.link = extras.link_error = link; });
  EXPECT_EQ(Control(*producer_).revoke(parent, false, now_), Revoked::kCancelled);
  EXPECT_TRUE(drain().empty());
}

TEST_F(Result, FollowersOfAPoisonPillComeToo) {
  const std::string link_error = follower(20, queue_);
  put(1, [&](TaskSpec&, TaskExtras& extras) { extras.link_error = link_error; });
  for (std::uint32_t deaths = 0; deaths < kPoisonLimit; ++deaths) {
    test::Attached victim(segment_, shm::Role::kWorker);
    ASSERT_TRUE(start(victim));
    (void)producer_->redeliver_held(victim.index(), now_);
  }
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{20}));
}

TEST_F(Result, NonsenseInALinkIsPassedOver) {
  std::string cut = follower(10, queue_);
  cut.resize(cut.size() - 3);
  std::string elsewhere = follower(11, queue_);
  elsewhere[0] = '\x7f';
  elsewhere[1] = '\x7f';
  for (const std::string& link : {cut, elsewhere, std::string("x"), std::string(15, '\0')}) {
    put(1, [&](TaskSpec&, TaskExtras& extras) { extras.link = link; });
    EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1}));
  }
}

}  // namespace
}  // namespace stem::engine
