// What befalls whole processes: grown too large, stacks that overflow, core dumps, crash loops, the death of
// supervisors and keepers. Nothing that was enqueued is lost by any of it.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "engine/keeper.hpp"
#include "tests/worker/fleet.hpp"
#include "worker/autoscale.hpp"

namespace stem::test {
namespace {

using worker::Outcome;
using worker::TaskContext;

constexpr std::uint64_t kMiB = 1024 * 1024;

std::string state_in(Fleet& fleet, engine::TaskId id) {
  const auto info = fleet.task(id);
  return info ? info->state_name : "gone";
}

bool all_succeeded(Fleet& fleet, std::uint64_t count) {
  return wait_until([&] { return fleet.count(shm::Counter::kSucceeded) == count; }, kPatience);
}

// Takes memory and keeps it, as a leak does: every page is touched.
void leak(std::size_t bytes) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) std::abort();
  std::memset(at, 1, bytes);
}

TEST(Recycling, AProcessThatHasGrownIsReplacedAndNoTaskIsLost) {
  constexpr int kTasks = 12;
  Fleet fleet;
  fleet.options.max_memory_per_child_bytes = 160 * kMiB;
  // 64 MiB a task: a process is too large after two or three. A task long enough that the check comes round.
  fleet.handlers.on("leak", [&](TaskContext&) {
    leak(64 * kMiB);
    fleet.note("pid " + std::to_string(::getpid()));
    ::usleep(15'000);
    return Outcome::success();
  });
  fleet.start();
  for (int i = 0; i < kTasks; ++i) fleet.put("leak");
  ASSERT_TRUE(all_succeeded(fleet, kTasks));
  auto notes = fleet.notes();
  EXPECT_EQ(notes.size(), std::size_t{kTasks}) << "each ran once";
  std::sort(notes.begin(), notes.end());
  for (auto it = notes.begin(); it != notes.end();) {
    const auto next = std::upper_bound(it, notes.end(), *it);
    EXPECT_LE(next - it, 4) << *it << " was not replaced in time";
    it = next;
  }
  notes.erase(std::unique(notes.begin(), notes.end()), notes.end());
  EXPECT_GE(notes.size(), 3u) << "processes that ran them";
  EXPECT_EQ(fleet.count(shm::Counter::kRedelivered), 0u) << "it left between two tasks";
  EXPECT_EQ(unsettled(fleet.engine()), "");
}

TEST(Recycling, TheSizeThatCountsIsTheProcessesOwn) {
  Fleet fleet;
  fleet.handlers.on("leak", [&](TaskContext&) {
    leak(96 * kMiB);
    return Outcome::success();
  });
  fleet.start();
  const std::uint64_t before = fleet.workers().at(0).rss_bytes;
  EXPECT_GT(before, 0u);
  fleet.put("leak");
  EXPECT_TRUE(wait_until([&] { return fleet.workers().at(0).rss_bytes >= before + 96 * kMiB; }, kPatience))
      << "the roster shows what the kernel says";
}

TEST(Autoscaling, MoreProcessesWhileTasksWait) {
  Fleet fleet;
  fleet.options.autoscale_min = 1;
  fleet.options.autoscale_max = 2;
  fleet.handlers.on("held", [&](TaskContext&) {
    fleet.note("started");
    while (fleet.notes_of("go") == 0) ::usleep(1'000);
    return Outcome::success();
  });
  fleet.start();
  EXPECT_EQ(fleet.workers().size(), 1u);
  for (int i = 0; i < 4; ++i) fleet.put("held");
  EXPECT_TRUE(wait_until([&] { return fleet.workers().size() == 2 && fleet.notes_of("started") == 2; }, kPatience));
  fleet.note("go");
  ASSERT_TRUE(all_succeeded(fleet, 4));
  // Idle for long enough, one of them leaves: the other stays, as the minimum.
  const auto patience = kPatience + std::chrono::nanoseconds(worker::Autoscale::kIdleNs);
  EXPECT_TRUE(wait_until([&] { return fleet.workers().size() == 1; },
                         std::chrono::duration_cast<std::chrono::milliseconds>(patience)));
  EXPECT_EQ(fleet.count(shm::Counter::kRedelivered), 0u);
}

// Not a tail call, and every frame is used.
[[gnu::noinline]] int overflow(volatile char* above, int depth) {
  volatile char frame[4096];
  frame[0] = above != nullptr ? above[0] : 0;
  frame[sizeof frame - 1] = static_cast<char>(depth);
  return depth == INT32_MAX ? 0 : overflow(frame, depth + 1) + frame[0];
}

TEST(Handler, WhoseStackOverflowsIsACrashLikeAnother) {
  Fleet fleet(2);
  fleet.handlers.on("deep", [&](TaskContext& context) {
    fleet.note("attempt " + std::to_string(context.attempt()));
    return Outcome::success(std::to_string(overflow(nullptr, 0)));
  });
  fleet.start();
  const auto id = fleet.put("deep", "x", nullptr, /*max_retries=*/10);
  ASSERT_TRUE(wait_until([&] { return state_in(fleet, id) == "dead"; }, kPatience));
  const auto failure = fleet.task(id)->failure;
  ASSERT_TRUE(failure);
  EXPECT_EQ(static_cast<engine::DeadReason>(failure->reason), engine::DeadReason::kPoisonPill);
  EXPECT_NE(failure->message().find("SIGSEGV"), std::string_view::npos) << failure->message();
  EXPECT_EQ(fleet.notes().size(), 3u) << "three deaths are poison";
  EXPECT_EQ(unsettled(fleet.engine()), "");
}

TEST(Handler, ThatCallsExitDiesWithItsTaskAndNotTwice) {
  Fleet fleet;
  fleet.handlers.on("exit", [&](TaskContext& context) {
    fleet.note("attempt " + std::to_string(context.attempt()));
    if (context.attempt() == 0) std::exit(0);  // with atexit functions and destructors; 0 is no success
    return Outcome::success();
  });
  fleet.start();
  const auto id = fleet.put("exit");
  ASSERT_TRUE(wait_until([&] { return state_in(fleet, id) == "succeeded"; }, kPatience));
  EXPECT_EQ(fleet.notes(), (std::vector<std::string>{"attempt 0", "attempt 1"}));
  EXPECT_TRUE(wait_until([&] { return fleet.count(shm::Counter::kRedelivered) == 1u; }, kPatience));
  EXPECT_TRUE(wait_until([&] { return fleet.workers().size() == 1; }, kPatience));
  EXPECT_EQ(unsettled(fleet.engine()), "");
}

// A core of that size takes its time; the task must not wait for it.
TEST(Worker, ThatDumpsCoreIsRedeliveredBeforeTheDumpIsOver) {
  Fleet fleet(2);
  fleet.handlers.on("dump", [&](TaskContext& context) {
    if (context.attempt() != 0) {
      fleet.note("again " + std::to_string(base::monotonic_ns()));
      return Outcome::success();
    }
    leak(512 * kMiB);
    const rlimit any{RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_CORE, &any);
    ::prctl(PR_SET_DUMPABLE, 1);
    if (::chdir(fleet.directory().c_str()) != 0) std::abort();
    fleet.note("crash " + std::to_string(base::monotonic_ns()));
    ::abort();
  });
  fleet.start();
  const auto id = fleet.put("dump");
  ASSERT_TRUE(wait_until([&] { return state_in(fleet, id) == "succeeded"; }, kPatience));
  const auto notes = fleet.notes();
  ASSERT_EQ(notes.size(), 2u);
  const auto at = [](const std::string& note) { return std::stoll(note.substr(note.find(' '))); };
  // A dump of half a GiB takes hundreds of milliseconds; the bound leaves room for a busy machine.
  EXPECT_LT(at(notes[1]) - at(notes[0]), 250'000'000) << "it waited for the core file";
}

TEST(Worker, CrashesInALoopAreStartedMoreAndMoreRarely) {
  Fleet fleet;
  fleet.handlers.on("crash", [&](TaskContext&) -> Outcome {
    fleet.note("crash " + std::to_string(base::monotonic_ns()));
    ::raise(SIGKILL);
    return Outcome::success();
  });
  fleet.start();
  // Three deaths bury a task: two of them make six crashes in a row.
  const auto first = fleet.put("crash", "1", nullptr, 10);
  const auto second = fleet.put("crash", "2", nullptr, 10);
  ASSERT_TRUE(
      wait_until([&] { return state_in(fleet, first) == "dead" && state_in(fleet, second) == "dead"; }, kPatience));
  std::vector<std::int64_t> at;
  for (const std::string& note : fleet.notes()) at.push_back(std::stoll(note.substr(6)));
  ASSERT_EQ(at.size(), 6u);
  // At once after the first; then 0.1, 0.2, 0.4, 0.8 s. A busy machine only adds to it.
  std::int64_t least = 100'000'000;
  for (std::size_t i = 2; i < at.size(); ++i, least *= 2) EXPECT_GE(at[i] - at[i - 1], least) << "crash " << i + 1;
  EXPECT_TRUE(wait_until([&] { return fleet.workers().size() == 1; }, kPatience)) << "and still it is started again";
}

TEST(Keeper, WhoIsKilledIsSucceededAndWhatWasDelayedStillRuns) {
  Fleet one;
  one.handlers.on("later", [](TaskContext&) { return Outcome::success(); });
  one.start();
  ASSERT_TRUE(wait_until([&] { return one.segment().header().keeper.load() != 0; }, kPatience));
  const std::uint64_t first = one.segment().header().keeper.load();
  // A second supervisor on the same segment, which stands for keeper.
  worker::WorkerOptions options = one.options;
  options.node = "second";
  Process second([&] { return worker::run(options, one.handlers) ? 0 : 1; });
  ASSERT_TRUE(wait_until([&] { return one.workers().size() == 2; }, kPatience));
  engine::TaskSpec spec;
  spec.queue = must_queue(one.segment(), "default");
  spec.task = must_task(one.segment(), "later");
  spec.keep_result = true;
  spec.due_ns = base::monotonic_ns() + 300'000'000;
  const auto id = one.engine().enqueue(spec, base::monotonic_ns()).id;
  EXPECT_EQ(state_in(one, id), "delayed");
  one.supervisor().kill();
  ASSERT_TRUE(wait_until([&] { return state_in(one, id) == "succeeded"; }, kPatience));
  EXPECT_NE(one.segment().header().keeper.load(), first);
  second.signal(SIGTERM);
  EXPECT_EQ(second.wait(), 0);
}

TEST(Supervisor, WhoIsKilledLosesNoTask) {
  constexpr std::uint64_t kTasks = 200;
  Fleet fleet(2);
  fleet.handlers.on("count", [&](TaskContext&) {
    fleet.note("ran");
    return Outcome::success();
  });
  fleet.start();
  for (std::uint64_t i = 0; i < kTasks / 2; ++i) fleet.put("count");
  fleet.supervisor().kill();
  for (std::uint64_t i = 0; i < kTasks / 2; ++i) fleet.put("count");
  // The processes finish what runs and leave with their supervisor; another one goes on.
  ASSERT_TRUE(wait_until([&] { return fleet.workers().empty(); }, kPatience));
  fleet.start();
  ASSERT_TRUE(all_succeeded(fleet, kTasks));
  EXPECT_TRUE(
      wait_until([&] { return fleet.notes().size() - kTasks == fleet.count(shm::Counter::kRedelivered); }, kPatience))
      << "runs beyond the first are counted";
  EXPECT_EQ(unsettled(fleet.engine()), "");
}

}  // namespace
}  // namespace stem::test
