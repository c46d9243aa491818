// The end of a handler is told once, whatever becomes of its task.
#include <gtest/gtest.h>

#include "engine/query.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"
#include "worker/settle.hpp"

namespace stem::worker {
namespace {

constexpr std::int64_t kNow = 1'000'000'000'000;

class PostrunTest : public ::testing::Test {
 protected:
  PostrunTest() {
    worker_.engine->events().listen(
        [this](const shm::Event& event) {
          if (event.kind == shm::EventKind::kPostrun) told_.emplace_back(event.handle, std::string(event.text));
        },
        shm::EventDetail::kSteps);
  }
  // One run of small tasks, claimed and begun.
  void begin_run(std::uint32_t count) {
    std::vector<std::unique_ptr<test::Numbered>> tasks;
    std::vector<engine::TaskSpec> specs;
    for (std::uint32_t i = 0; i < count; ++i) {
      tasks.push_back(std::make_unique<test::Numbered>(queue_, task_, i));
      specs.push_back(tasks.back()->spec);
    }
    std::size_t done = 0;
    ASSERT_EQ(producer_->enqueue_many(specs.data(), count, nullptr, done, kNow), engine::EnqueueStatus::kOk);
    leases_.resize(count);
    ASSERT_EQ(worker_->claim(queue_, leases_.data(), count, kNow), count);
    views_.resize(count);
    for (std::uint32_t i = 0; i < count; ++i) {
      ASSERT_TRUE(worker_->view(leases_[i], views_[i]));
      ASSERT_EQ(worker_->begin(leases_[i], views_[i], kNow), engine::Begin::kStart);
    }
  }
  void end(std::uint32_t i, const Outcome& outcome = Outcome::success()) {
    settle(*worker_, leases_[i], views_[i], outcome, Acknowledge::kTogether, kNow);
  }
  std::vector<std::string> told_of(std::uint32_t i) const {
    std::vector<std::string> texts;
    for (const auto& [handle, text] : told_)
      if (handle == views_[i].id.handle) texts.push_back(text);
    return texts;
  }

  test::ScratchDirectory directory_;
  std::shared_ptr<shm::Segment> segment_ = test::must_create(test::small_segment(directory_));
  std::uint32_t queue_ = test::must_queue(*segment_, "q");
  std::uint32_t task_ = test::must_task(*segment_, "t");
  test::Attached producer_{segment_};
  test::Attached worker_{segment_, shm::Role::kWorker};
  std::vector<engine::Lease> leases_;
  std::vector<engine::TaskView> views_;
  std::vector<std::pair<std::uint64_t, std::string>> told_;
};

TEST_F(PostrunTest, EachOutcomeHasItsWord) {
  begin_run(5);
  end(0);
  end(1, Outcome::retry("again"));
  end(2, Outcome::snooze(1'000));
  end(3, Outcome::fail_permanently("error", "broken"));
  end(4, Outcome::discard("not wanted"));
  const char* words[] = {"succeeded", "retried", "snoozed", "failed", "cancelled"};
  for (std::uint32_t i = 0; i < 5; ++i) EXPECT_EQ(told_of(i), std::vector<std::string>{words[i]}) << i;
}

// The last item's end brings the acknowledgement of all: refused, it must not tell of the last one twice, nor again of
// those that were told already.
TEST_F(PostrunTest, TheLastItemOfARunThatWasLostIsToldOnce) {
  begin_run(4);
  end(0);
  end(1);
  end(2);
  ASSERT_TRUE(producer_->redeliver(leases_[0].slot, leases_[0].word, 0, engine::LeaseEnd::kSilent, kNow));
  end(3);
  ASSERT_EQ(told_.size(), 4u);
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(told_of(i), std::vector<std::string>{"succeeded"}) << i;
  EXPECT_EQ(told_of(3), std::vector<std::string>{"fenced"});
}

}  // namespace
}  // namespace stem::worker
