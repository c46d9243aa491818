// From when on a worker counts a task's limits: from its own beginning, also behind tasks that share a look at the clock.
#include <gtest/gtest.h>
#include <unistd.h>

#include "shm/names.hpp"
#include "tests/worker/fleet.hpp"

namespace stem::test {
namespace {

using worker::Outcome;
using worker::TaskContext;

// Thousands of tiny tasks, then one that turns out not to be, then one whose lease ends by the clock: it begins when that
// one is over, and not at the look at the clock before it.
TEST(WorkerClock, ALeaseThatIsNotRenewedBeginsWithItsTask) {
  constexpr std::int64_t kVisibleNs = 3600 * engine::kSecondNs;
  Fleet fleet;
  fleet.handlers.on("tiny", [](TaskContext&) { return Outcome::success(); });
  fleet.handlers.on("slow", [&fleet](TaskContext&) {
    ::usleep(200'000);
    fleet.note("over " + std::to_string(base::monotonic_ns()));
    return Outcome::success();
  });
  fleet.handlers.on("held", [&fleet](TaskContext&) {
    fleet.note("started");
    while (fleet.notes_of("go") == 0) ::usleep(1'000);
    return Outcome::success();
  });
  const std::uint32_t queue = must_queue(fleet.segment(), "default");
  engine::TaskSpec spec;
  spec.queue = queue;
  spec.task = must_task(fleet.segment(), "tiny");
  const std::vector<engine::TaskSpec> tiny(3000, spec);
  std::size_t done = 0;
  ASSERT_EQ(fleet.engine().enqueue_many(tiny.data(), tiny.size(), nullptr, done, base::monotonic_ns()),
            engine::EnqueueStatus::kOk);
  spec.task = must_task(fleet.segment(), "slow");
  ASSERT_EQ(fleet.engine().enqueue(spec, base::monotonic_ns()).status, engine::EnqueueStatus::kOk);
  engine::TaskExtras extras;
  extras.visibility_ns = kVisibleNs;
  spec.task = must_task(fleet.segment(), "held");
  spec.auto_renew = false;
  spec.extras = &extras;
  const engine::TaskId held = fleet.engine().enqueue(spec, base::monotonic_ns()).id;
  fleet.start();
  ASSERT_TRUE(wait_until([&] { return fleet.notes_of("started") == 1; }, kPatience));
  const shm::ControlWord word = fleet.segment().descriptor(held.slot()).control.load();
  ASSERT_EQ(word.state(), shm::State::kLeased);
  const std::int64_t end_ns = fleet.engine().due_ns(held.slot(), word);
  const auto notes = fleet.notes();
  ASSERT_TRUE(notes.at(0).starts_with("over "));
  EXPECT_GE(end_ns, std::stoll(notes[0].substr(5)) + kVisibleNs);
  fleet.note("go");
  EXPECT_TRUE(wait_until([&] { return fleet.count(shm::Counter::kSucceeded) == 3002; }, kPatience));
}

}  // namespace
}  // namespace stem::test
