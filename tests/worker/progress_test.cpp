// What a handler says of itself while it runs, as others see it.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/worker/fleet.hpp"

namespace stem::test {
namespace {

using worker::Outcome;
using worker::TaskContext;

TEST(Progress, IsSeenFromOutsideWhileTheTaskRunsAndNotAfterwards) {
  Fleet fleet;
  fleet.handlers.on("film", [&](TaskContext& context) {
    if (!context.progress(0.25, "scene 1")) return Outcome::fail("test", "refused");
    while (fleet.notes_of("on") == 0) ::usleep(1'000);
    if (!context.progress(0.75, "scene 3")) return Outcome::fail("test", "refused");
    while (fleet.notes_of("end") == 0) ::usleep(1'000);
    return Outcome::success();
  });
  fleet.start();
  const auto id = fleet.put("film");
  const auto says = [&](const std::string& data) {
    return wait_until(
        [&] {
          const auto info = fleet.task(id);
          return info && info->has_progress && info->progress_data == data;
        },
        kPatience);
  };
  ASSERT_TRUE(says("scene 1"));
  EXPECT_DOUBLE_EQ(fleet.task(id)->progress, 0.25);
  fleet.note("on");
  ASSERT_TRUE(says("scene 3"));
  EXPECT_DOUBLE_EQ(fleet.task(id)->progress, 0.75);
  fleet.note("end");
  ASSERT_TRUE(wait_until([&] { return fleet.task(id)->state_name == "succeeded"; }, kPatience));
  EXPECT_FALSE(fleet.task(id)->has_progress);
  EXPECT_EQ(unsettled(fleet.engine()), "");
}

TEST(Progress, OfAnAttemptThatDiedIsNotTheNextOnes) {
  Fleet fleet;
  fleet.handlers.on("twice", [&](TaskContext& context) {
    if (context.attempt() == 0) {
      if (context.progress(0.9, "nearly")) fleet.note("said");
      ::_exit(1);
    }
    fleet.note("second");
    while (fleet.notes_of("end") == 0) ::usleep(1'000);
    return Outcome::success();
  });
  fleet.start();
  const auto id = fleet.put("twice");
  ASSERT_TRUE(wait_until([&] { return fleet.notes_of("second") == 1; }, kPatience));
  EXPECT_EQ(fleet.notes_of("said"), 1u);
  EXPECT_FALSE(fleet.task(id)->has_progress);
  fleet.note("end");
  EXPECT_TRUE(wait_until([&] { return fleet.task(id)->state_name == "succeeded"; }, kPatience));
}

// Small tasks that were enqueued together share one control word, and what it says of progress.
TEST(Progress, OfOneTaskOfARunIsNotItsNeighbours) {
  constexpr int kTasks = 8;
  Fleet fleet;
  fleet.handlers.on("small", [&](TaskContext& context) {
    const auto self = context.task_id();
    if (!context.progress(0.5, "me")) fleet.note("refused");
    engine::Query query(context.engine());
    int speakers = 0;
    for (std::uint32_t item = 0; item < 16; ++item) {
      const auto info = query.task(engine::TaskId::make(self.epoch, self.slot(), self.generation(), item));
      speakers += info && info->has_progress;
    }
    fleet.note(std::string(self.item() != 0 ? "in a run" : "alone") + ", speakers " + std::to_string(speakers));
    return Outcome::success();
  });
  // All there before anybody claims, and quick ones first: a worker that knows its tasks to be quick claims
  // a run as a whole.
  fleet.handlers.on("quick", [](TaskContext&) { return Outcome::success(); });
  for (int i = 0; i < 200; ++i) fleet.put("quick");
  std::vector<engine::TaskSpec> specs(kTasks);
  const std::string payload = "x";
  for (auto& spec : specs) {
    spec.queue = must_queue(fleet.segment(), "default");
    spec.task = must_task(fleet.segment(), "small");
    spec.payload = std::as_bytes(std::span(payload));
  }
  engine::TaskId ids[kTasks];
  std::size_t done = 0;
  ASSERT_EQ(fleet.engine().enqueue_many(specs.data(), specs.size(), ids, done, base::monotonic_ns()),
            engine::EnqueueStatus::kOk);
  ASSERT_NE(ids[0].item(), 0u) << "they are no run, and this test shows nothing";
  fleet.start();
  ASSERT_TRUE(wait_until([&] { return fleet.notes().size() == kTasks; }, kPatience));
  for (const std::string& line : fleet.notes()) EXPECT_EQ(line, "in a run, speakers 1");
}

}  // namespace
}  // namespace stem::test
