// Coroutine handlers in real worker processes: how many at once, how each can end, and what a killed process leaves.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>

#include "api/worker_context.hpp"
#include "base/clock.hpp"
#include "engine/control.hpp"
#include "stem/co.hpp"
#include "stem/handler.hpp"
#include "tests/coroutines/seccomp.hpp"
#include "tests/worker/fleet.hpp"
#include "worker/control.hpp"
#include "worker/flights.hpp"

namespace stem::test {
namespace {

using worker::CoHandler;
using worker::Outcome;
using worker::TaskContext;

// Seen by the test and by every process it forks.
struct Tally {
  std::atomic<std::uint32_t> begun, ended, destroyed, most_at_once, at_once;
  std::atomic<std::uint32_t> go;  // handlers that wait for it go on
  std::atomic<std::int64_t> epoll, frames, pid;
  std::atomic<std::uint8_t> runs[1 << 18];  // by number of the task: how often it was begun
};

// Ended, and not yet waited for.
bool is_zombie(std::int64_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  const std::size_t at = text.rfind(") ");
  return at != std::string::npos && text[at + 2] == 'Z';
}

class SharedTally {
 public:
  SharedTally()
      : tally_(new (::mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Tally) {}
  ~SharedTally() { ::munmap(tally_, sizeof(Tally)); }
  Tally* operator->() const { return tally_; }
  Tally& operator*() const { return *tally_; }

 private:
  Tally* tally_;
};

// In a handler's frame: shows that it was destroyed.
struct Witness {
  explicit Witness(Tally& t) : tally(t) {
    ++tally.begun;
    const std::uint32_t now = ++tally.at_once;
    std::uint32_t most = tally.most_at_once;
    while (now > most && !tally.most_at_once.compare_exchange_weak(most, now)) {
    }
  }
  ~Witness() {
    --tally.at_once;
    ++tally.destroyed;
  }
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;
  Tally& tally;
};

std::uint32_t number_in(TaskContext& context) {
  return static_cast<std::uint32_t>(std::stoul(std::string(context.payload_text())));
}

// Waits until the test says go. Cancelled, it fails.
Co<Outcome> until_go(Tally& tally, TaskContext& context,
                     std::chrono::milliseconds look_every = std::chrono::milliseconds(20)) {
  const Witness witness(tally);
  const std::uint32_t number = number_in(context);
  ++tally.runs[number];
  while (tally.go == 0) {
    auto slept = co_await sleep(look_every);
    if (!slept) co_return Outcome::fail("gave up", slept.error().message);
  }
  ++tally.ended;
  co_return Outcome::success(std::to_string(number));
}

Co<int> sleep_a_little() {
  (void)co_await sleep(std::chrono::microseconds(10));
  co_return 1;
}

class FlightsTest : public testing::Test {
 protected:
  void add_until_go() {
    fleet.handlers.on("wait", CoHandler([this](TaskContext& context) { return until_go(*tally, context); }));
  }
  std::vector<engine::TaskId> put_many(std::uint32_t count, const std::string& task = "wait",
                                       const engine::TaskExtras* extras = nullptr, std::uint16_t max_retries = 0) {
    std::vector<engine::TaskId> ids;
    for (std::uint32_t i = 0; i < count; ++i) ids.push_back(fleet.put(task, std::to_string(i), extras, max_retries));
    return ids;
  }
  // With epoll; its hard limit is half a second.
  engine::TaskId begin_one_that_is_stuck_beside(std::uint32_t others) {
    add_until_go();
    const std::string fifo = fleet.directory() + "/fifo";
    EXPECT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    fleet.handlers.on("stuck", CoHandler([this, fifo](TaskContext&) -> Co<Outcome> {
                        tally->pid = ::getpid();
                        auto file = co_await File::open(fifo, O_RDONLY);  // nobody opens it to write
                        co_return file ? Outcome::success() : Outcome::fail("open", file.error().message);
                      }));
    fleet.before_run = [] { refuse_io_uring(); };
    fleet.start();
    put_many(others);
    EXPECT_TRUE(wait_begun(others));
    engine::TaskExtras extras;
    extras.hard_limit_ns = 500'000'000;
    const auto id = fleet.put("stuck", {}, &extras);
    EXPECT_TRUE(wait_until([&] { return tally->pid != 0; }, kPatience));
    return id;
  }
  bool wait_begun(std::uint32_t count) {
    return wait_until([&] { return tally->begun >= count; }, kPatience);
  }
  bool wait_counted(shm::Counter counter, std::uint64_t count) {
    return wait_until([&] { return fleet.count(counter) >= count; }, kPatience);
  }
  std::string state_of(engine::TaskId id) {
    const auto info = fleet.task(id);
    return info ? info->state_name : "gone";
  }
  std::string failure_of(engine::TaskId id) {
    const auto info = fleet.task(id);
    return info && info->failure ? std::string(info->failure->kind()) + ": " + std::string(info->failure->message())
                                 : "none";
  }

  worker::Answer ask(std::uint32_t row, worker::Command command, std::uint32_t argument = 0) {
    const auto life = shm::row_incarnation(fleet.segment().row(row).status.load());
    const auto number = worker::send_request(fleet.segment(), row, life, command, argument);
    worker::ControlReply reply;
    EXPECT_TRUE(wait_until([&] { return worker::read_reply(fleet.segment(), row, number, reply); }, kPatience));
    return reply.answer;
  }

  SharedTally tally;
  Fleet fleet{1, 1 << 17};
};

TEST_F(FlightsTest, AsManyAsThereAreSlotsAndNoMore) {
  fleet.options.async_slots = 40;
  add_until_go();
  fleet.start();
  const auto ids = put_many(100);
  ASSERT_TRUE(wait_begun(40));
  // A cap that is real: nothing waits in the process's hand while others could have it.
  EXPECT_EQ(slots_in(fleet.segment(), shm::State::kLeased), 40u);
  EXPECT_EQ(slots_in(fleet.segment(), shm::State::kReady), 60u);
  EXPECT_EQ(fleet.workers().at(0).inflight, 40u);
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 100));
  EXPECT_EQ(tally->most_at_once, 40u);
  for (std::uint32_t i = 0; i < 100; ++i) {
    EXPECT_EQ(tally->runs[i], 1u);
    const auto result = fleet.task(ids[i])->result;
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(result.data()), result.size()), std::to_string(i));
  }
  EXPECT_EQ(unsettled(fleet.engine()), "");
}

TEST_F(FlightsTest, KilledWithAHundredThousandUnderWayEachRunsAgainOnce) {
  constexpr std::uint32_t kMany = 100'000;
  fleet.options.async_slots = kMany;
  fleet.handlers.on(
      "wait", CoHandler([this](TaskContext& context) { return until_go(*tally, context, std::chrono::seconds(2)); }));
  fleet.start();
  put_many(kMany);
  ASSERT_TRUE(wait_begun(kMany));
  ASSERT_TRUE(wait_until([&] { return fleet.workers().at(0).inflight == kMany; }, kPatience));
  ::kill(static_cast<pid_t>(fleet.workers().at(0).pid), SIGKILL);
  ASSERT_TRUE(wait_begun(2 * kMany));
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, kMany));
  for (std::uint32_t i = 0; i < kMany; ++i) ASSERT_EQ(tally->runs[i], 2u) << i;
  EXPECT_EQ(tally->ended, kMany);
  EXPECT_EQ(fleet.count(shm::Counter::kRedelivered), kMany);
  EXPECT_EQ(unsettled(fleet.engine()), "");
}

TEST_F(FlightsTest, ACrashIsBlamedOnTheHandlerThatWasOnTheProcessor) {
  add_until_go();
  fleet.handlers.on("poison", CoHandler([this](TaskContext&) -> Co<Outcome> {
                      if (tally->begun < 20) co_await sleep(std::chrono::milliseconds(1));
                      ::raise(SIGSEGV);
                      co_return Outcome::success();
                    }));
  fleet.start();
  const auto others = put_many(20);
  ASSERT_TRUE(wait_begun(20));
  const auto poison = fleet.put("poison", "x", nullptr, /*max_retries=*/10);
  ASSERT_TRUE(wait_until([&] { return state_of(poison) == "dead"; }, kPatience));
  EXPECT_NE(failure_of(poison).find("SIGSEGV"), std::string::npos) << failure_of(poison);
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 20));
  for (const auto id : others) {
    EXPECT_EQ(fleet.task(id)->tally.deaths, 0u);
    EXPECT_EQ(fleet.task(id)->tally.attempts, 0u);
  }
}

TEST_F(FlightsTest, AWarmStopWaitsAtTheGate) {
  add_until_go();
  fleet.start();
  const auto ids = put_many(10);
  ASSERT_TRUE(wait_begun(10));
  const std::uint32_t row = fleet.workers().at(0).participant;
  fleet.supervisor().signal(SIGTERM);
  ASSERT_TRUE(wait_until([&] { return fleet.segment().row(row).stop_mode.load() == 1; }, kPatience));
  const auto late = fleet.put("wait", "77");
  EXPECT_TRUE(fleet.supervisor().running());
  tally->go = 1;
  EXPECT_EQ(fleet.supervisor().wait(), 0);
  for (const auto id : ids) EXPECT_EQ(state_of(id), "succeeded");
  EXPECT_EQ(state_of(late), "queued");
  EXPECT_EQ(tally->destroyed, 10u);
}

TEST_F(FlightsTest, ADrainThatTakesTooLongCancelsAndWhatGaveUpComesBackAsItWas) {
  fleet.options.drain_timeout_ns = 50'000'000;
  add_until_go();
  fleet.start();
  const auto ids = put_many(10);
  ASSERT_TRUE(wait_begun(10));
  fleet.supervisor().signal(SIGTERM);
  EXPECT_EQ(fleet.supervisor().wait(), 0);
  EXPECT_EQ(tally->destroyed, 10u);
  EXPECT_EQ(tally->ended, 0u);
  for (const auto id : ids) {
    EXPECT_EQ(state_of(id), "queued");
    EXPECT_EQ(fleet.task(id)->tally.attempts, 0u);
  }
  EXPECT_EQ(unsettled(fleet.engine()), "");
}

// As people write it, stem::fail() at the first operation that did not work, and as the engine calls it.
TEST_F(FlightsTest, WhoFailsForGoodBecauseOfAStopIsNoDeadLetter) {
  fleet.options.drain_timeout_ns = 50'000'000;
  static constexpr Task<void(std::string)> kPublic{"public"};
  api::CoHandlerParts parts{detail::make_co_handler(kPublic,
                                                    [this](Context&, const std::string&) -> Co<stem::Outcome<void>> {
                                                      const Witness witness(*tally);
                                                      auto slept = co_await sleep(std::chrono::hours(1));
                                                      if (!slept) co_return stem::fail(slept.error().message);
                                                      co_return stem::Outcome<void>();
                                                    }),
                            {}};
  fleet.handlers.on_start("public", [&parts](TaskContext& context, std::optional<Outcome>& into) {
    return api::run_co_handler(parts, context, into);
  });
  fleet.handlers.on("own", CoHandler([this](TaskContext&) -> Co<Outcome> {
                      const Witness witness(*tally);
                      auto slept = co_await sleep(std::chrono::hours(1));
                      co_return Outcome::fail_permanently("gave up", slept.ok() ? "" : slept.error().message);
                    }));
  fleet.start();
  const auto first = fleet.put("public", "x");
  const auto second = fleet.put("own");
  ASSERT_TRUE(wait_begun(2));
  fleet.supervisor().signal(SIGTERM);
  EXPECT_EQ(fleet.supervisor().wait(), 0);
  EXPECT_EQ(tally->destroyed, 2u);
  for (const auto id : {first, second}) {
    EXPECT_EQ(state_of(id), "queued") << failure_of(id);
    EXPECT_EQ(fleet.task(id)->tally.attempts, 0u);
  }
  EXPECT_EQ(unsettled(fleet.engine()), "");
}

TEST_F(FlightsTest, WhoBeginsAfterASoftStopIsTold) {
  add_until_go();
  const auto id = fleet.put("wait", "1");
  engine::Lease lease;
  engine::TaskView task;
  const std::int64_t now = base::monotonic_ns();
  ASSERT_EQ(fleet.engine().claim(must_queue(fleet.segment(), "default"), &lease, 1, now), 1u);
  ASSERT_TRUE(fleet.engine().view(lease, task));
  ASSERT_EQ(fleet.engine().begin(lease, task, now), engine::Begin::kStart);
  const auto page = worker::make_child_page();
  auto flights = worker::Flights::create(fleet.engine(), *page, 8);
  ASSERT_TRUE(flights.ok()) << flights.error().message;
  (*flights)->stop();
  (*flights)->launch(*fleet.handlers.find("wait"), lease, task, now);
  EXPECT_EQ(tally->begun, 1u);
  EXPECT_EQ((*flights)->size(), 0u);
  EXPECT_EQ(state_of(id), "queued");
}

TEST_F(FlightsTest, ARecycledProcessWaitsForTheDrainTimeoutAndNoLonger) {
  fleet.options.max_tasks_per_child = 5;
  fleet.options.drain_timeout_ns = 50'000'000;
  add_until_go();
  fleet.start();
  const auto ids = put_many(5);
  ASSERT_TRUE(wait_begun(10));  // again, in the next process
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 5));
  for (const auto id : ids) {
    EXPECT_EQ(state_of(id), "succeeded");
    EXPECT_EQ(fleet.task(id)->tally.attempts, 0u);
    EXPECT_EQ(fleet.task(id)->tally.deaths, 0u);
  }
}

TEST_F(FlightsTest, AShutdownWhileAProcessIsRecycledKeepsItDown) {
  fleet.options.max_tasks_per_child = 1;
  add_until_go();
  fleet.start();
  const auto id = fleet.put("wait", "1");
  ASSERT_TRUE(wait_begun(1));
  const auto busy = fleet.workers().at(0);
  ASSERT_TRUE(wait_until([&] { return fleet.segment().row(busy.participant).stop_mode.load() == 1; }, kPatience));
  const auto supervisor =
      static_cast<std::uint32_t>(fleet.segment().row(busy.participant).supervisor.load() & 0xfff) - 1;
  EXPECT_EQ(ask(busy.participant, worker::Command::kShutdown, 1), worker::Answer::kDone);
  tally->go = 1;
  ASSERT_TRUE(wait_until([&] { return ::kill(static_cast<pid_t>(busy.pid), 0) != 0; }, kPatience));
  EXPECT_EQ(state_of(id), "succeeded");
  // It was reaped, and would be replaced in the same round of its supervisor, which answers after it.
  EXPECT_EQ(ask(supervisor, worker::Command::kPing), worker::Answer::kDone);
  const std::string pid = std::to_string(fleet.supervisor().pid());
  std::ifstream children("/proc/" + pid + "/task/" + pid + "/children");
  ASSERT_TRUE(children.is_open());
  std::string child;
  EXPECT_FALSE(children >> child) << child;
}

TEST_F(FlightsTest, AHardStopGivesBackMoreThanARowCanName) {
  fleet.options.async_slots = 500;
  add_until_go();
  fleet.start();
  const auto ids = put_many(500);
  ASSERT_TRUE(wait_begun(500));
  ASSERT_TRUE(wait_until([&] { return fleet.workers().at(0).inflight == 500; }, kPatience));
  fleet.supervisor().signal(SIGQUIT);
  EXPECT_EQ(fleet.supervisor().wait(), 0);
  for (const auto id : ids) {
    EXPECT_EQ(state_of(id), "queued");
    EXPECT_EQ(fleet.task(id)->tally.attempts, 0u);
    EXPECT_EQ(fleet.task(id)->tally.deaths, 0u);
  }
  EXPECT_EQ(fleet.count(shm::counter_after(shm::Counter::kRedeliveredFirst,
                                           static_cast<std::uint32_t>(engine::LeaseEnd::kStopped))),
            fleet.count(shm::Counter::kRedelivered))
      << "by the stop, and nobody is charged for a death";
}

TEST_F(FlightsTest, ARevokeReachesTheOneHandlerAmongMany) {
  add_until_go();
  fleet.start();
  const auto ids = put_many(100);
  ASSERT_TRUE(wait_begun(100));
  EXPECT_EQ(engine::Control(fleet.engine()).revoke(ids[42], /*terminate=*/true, base::monotonic_ns()),
            engine::Revoked::kAsked);
  ASSERT_TRUE(wait_until([&] { return state_of(ids[42]) == "cancelled"; }, kPatience));
  EXPECT_EQ(tally->destroyed, 1u);
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 99));
}

TEST_F(FlightsTest, ASoftLimitEndsEachWaitAndTheHandlerSaysWhatThatMeans) {
  fleet.handlers.on("slow", CoHandler([](TaskContext& context) -> Co<Outcome> {
                      auto slept = co_await sleep(std::chrono::hours(1));
                      const bool told = context.stop_token().stop_requested();
                      co_return Outcome::success(slept.ok() ? "slept" : told ? slept.error().message : "not told");
                    }));
  fleet.start();
  engine::TaskExtras extras;
  extras.soft_limit_ns = 20'000'000;
  const auto id = fleet.put("slow", {}, &extras);
  ASSERT_TRUE(wait_until([&] { return state_of(id) == "succeeded"; }, kPatience));
  const auto result = fleet.task(id)->result;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(result.data()), result.size()), "sleep: its time was over");
}

// Seen by a listener in the process: a time limit, and how long each ran though another was on the processor last.
TEST_F(FlightsTest, EventsTellItsLimitAndHowLongItRan) {
  fleet.handlers.on("slow", CoHandler([](TaskContext&) -> Co<Outcome> {
                      (void)co_await sleep(std::chrono::hours(1));
                      co_return Outcome::success();
                    }));
  fleet.handlers.on("short", CoHandler([](TaskContext&) -> Co<Outcome> {
                      (void)co_await sleep(std::chrono::milliseconds(1));
                      co_return Outcome::success();
                    }));
  fleet.handlers.listen([this](const shm::Event& event, const shm::Participant&) {
    if (event.kind == shm::EventKind::kTimeout) fleet.note("timeout " + std::to_string(event.handle));
    if (event.kind == shm::EventKind::kSucceeded)
      fleet.note("ran " + std::to_string(event.handle) + " " + std::to_string(event.value));
  });
  fleet.start();
  engine::TaskExtras extras;
  extras.soft_limit_ns = 100'000'000;
  const auto slow = fleet.put("slow", {}, &extras);
  ASSERT_TRUE(wait_until([&] { return fleet.workers().at(0).inflight == 1; }, kPatience));
  fleet.put("short");
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 2));
  const std::string ran = "ran " + std::to_string(slow.handle) + " ";
  ASSERT_TRUE(wait_until([&] { return fleet.notes_of(ran) == 1; }, kPatience));
  EXPECT_EQ(fleet.notes_of("timeout " + std::to_string(slow.handle)), 1u);
  for (const std::string& line : fleet.notes()) {
    if (!line.starts_with(ran)) continue;
    EXPECT_GE(std::stoll(line.substr(ran.size())), 100'000'000) << line;
  }
}

// It listens to nothing and waits again and again; and a child of it does the same.
TEST_F(FlightsTest, AHardLimitDestroysTheFramesOfWhoDoesNotListen) {
  add_until_go();
  fleet.handlers.on(
      "deaf", CoHandler([this](TaskContext&) -> Co<Outcome> {
        const Witness witness(*tally);
        co_await with_nursery([this](Nursery& nursery) -> Co<void> {
          const auto forever = [](Tally& t) -> Co<void> {
            const Witness child(t);
            for (;;)
              (void)co_await shielded([]() -> Co<void> { (void)co_await sleep(std::chrono::milliseconds(1)); }());
          };
          for (int i = 0; i < 3; ++i) nursery.start(forever(*tally));
          co_return;
        });
        co_return Outcome::success();
      }));
  fleet.start();
  const auto other = fleet.put("wait", "0");
  ASSERT_TRUE(wait_begun(1));
  const pid_t before = static_cast<pid_t>(fleet.workers().at(0).pid);
  engine::TaskExtras extras;
  extras.hard_limit_ns = 50'000'000;
  const auto id = fleet.put("deaf", {}, &extras);
  ASSERT_TRUE(wait_until([&] { return state_of(id) == "dead"; }, kPatience));
  EXPECT_EQ(static_cast<engine::DeadReason>(fleet.task(id)->failure->reason), engine::DeadReason::kHardTimeLimit);
  EXPECT_EQ(tally->begun, 5u);
  EXPECT_EQ(tally->destroyed, 4u) << "its own and its children's";
  tally->go = 1;
  ASSERT_TRUE(wait_until([&] { return state_of(other) == "succeeded"; }, kPatience));
  EXPECT_EQ(static_cast<pid_t>(fleet.workers().at(0).pid), before) << "nobody else suffered";
  EXPECT_EQ(tally->runs[0], 1u);
}

TEST_F(FlightsTest, OneThatSpinsPastItsHardLimitTakesTheProcessAlongAndTheOthersRunAgain) {
  add_until_go();
  fleet.handlers.on("spins", CoHandler([](TaskContext&) -> Co<Outcome> {
                      co_await yield();
                      for (volatile bool for_ever = true; for_ever;) {
                      }
                      co_return Outcome::success();
                    }));
  fleet.start();
  put_many(10);
  ASSERT_TRUE(wait_begun(10));
  engine::TaskExtras extras;
  extras.hard_limit_ns = 50'000'000;
  const auto id = fleet.put("spins", {}, &extras);
  ASSERT_TRUE(wait_until([&] { return state_of(id) == "dead"; }, kPatience));
  EXPECT_EQ(static_cast<engine::DeadReason>(fleet.task(id)->failure->reason), engine::DeadReason::kHardTimeLimit);
  ASSERT_TRUE(wait_begun(20));
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 10));
  for (std::uint32_t i = 0; i < 10; ++i) EXPECT_EQ(tally->runs[i], 2u);
}

TEST_F(FlightsTest, AfterAStopPastTheirLeasesHandlersAreTold) {
  Fleet two{2};
  two.handlers.on("wait", CoHandler([this](TaskContext& context) { return until_go(*tally, context); }));
  two.start();
  engine::TaskExtras extras;
  extras.visibility_ns = 1'000'000'000;
  constexpr std::uint32_t kTasks = 20;
  for (std::uint32_t i = 0; i < kTasks; ++i) two.put("wait", std::to_string(i), &extras);
  ASSERT_TRUE(wait_begun(kTasks));
  engine::WorkerStats busy;
  ASSERT_TRUE(wait_until(
      [&] {
        std::uint32_t under_way = 0;
        for (const auto& worker : two.workers()) {
          under_way += worker.inflight;
          if (worker.inflight > busy.inflight) busy = worker;
        }
        return under_way == kTasks;
      },
      kPatience));
  ASSERT_GT(busy.inflight, 0u);
  ::kill(static_cast<pid_t>(busy.pid), SIGSTOP);
  ASSERT_TRUE(wait_begun(kTasks + busy.inflight));  // in the other process
  EXPECT_EQ(tally->destroyed, 0u);
  ::kill(static_cast<pid_t>(busy.pid), SIGCONT);
  ASSERT_TRUE(wait_until([&] { return tally->destroyed == busy.inflight; }, kPatience));
  tally->go = 1;
  ASSERT_TRUE(wait_until([&] { return two.count(shm::Counter::kSucceeded) == kTasks; }, kPatience));
  EXPECT_EQ(tally->ended, kTasks);
}

TEST_F(FlightsTest, AnExceptionIsAFailedAttempt) {
  fleet.handlers.on("throws", CoHandler([](TaskContext&) -> Co<Outcome> {
                      co_await sleep(std::chrono::milliseconds(1));
                      throw std::invalid_argument("no such image");
                    }));
  fleet.start();
  const auto id = fleet.put("throws");
  ASSERT_TRUE(wait_until([&] { return state_of(id) == "dead"; }, kPatience));
  EXPECT_EQ(failure_of(id), "std::invalid_argument: no such image");
}

TEST_F(FlightsTest, PlainHandlersRunBesideThem) {
  add_until_go();
  fleet.handlers.on("plain", [](TaskContext&) { return Outcome::success("plain"); });
  fleet.start();
  put_many(10);
  ASSERT_TRUE(wait_begun(10));
  std::vector<engine::TaskId> plain;
  for (int i = 0; i < 200; ++i) plain.push_back(fleet.put("plain"));
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 200));
  EXPECT_EQ(tally->destroyed, 0u);
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 210));
}

// The first plain one is slow, and those behind it are for whoever is free: nothing but it is in the process's hand.
TEST_F(FlightsTest, ACoroutineDoesNotMakeItsProcessGrabPlainTasks) {
  add_until_go();
  fleet.handlers.on("slow", [this](TaskContext&) {
    ++tally->at_once;
    while (tally->go == 0) ::usleep(1'000);
    return Outcome::success();
  });
  fleet.start();
  engine::Control control(fleet.engine());
  const std::uint32_t queue = must_queue(fleet.segment(), "default");
  control.pause(queue, base::monotonic_ns());
  put_many(1);
  std::vector<engine::TaskId> slow;
  for (int i = 0; i < 60; ++i) slow.push_back(fleet.put("slow"));
  control.resume(queue, base::monotonic_ns());
  ASSERT_TRUE(wait_until([&] { return tally->at_once == 2; }, kPatience));  // the coroutine, and one of them
  EXPECT_EQ(slots_in(fleet.segment(), shm::State::kLeased), 2u);
  EXPECT_EQ(slots_in(fleet.segment(), shm::State::kReady), 59u);
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 61));
}

// What waits goes on between two plain handlers, though they come in one batch.
TEST_F(FlightsTest, TheLoopTurnsBetweenPlainHandlers) {
  fleet.options.prefetch_multiplier = 64;
  fleet.handlers.on("ticks", CoHandler([this](TaskContext&) -> Co<Outcome> {
                      ++tally->begun;
                      while (tally->go == 0) {
                        co_await yield();
                        ++tally->ended;
                      }
                      co_return Outcome::success();
                    }));
  fleet.handlers.on("quick", [](TaskContext&) { return Outcome::success(); });
  fleet.handlers.on("notes", [this](TaskContext& context) {
    tally->runs[number_in(context)] = static_cast<std::uint8_t>(tally->ended);
    for (const std::int64_t until = base::monotonic_ns() + 200'000; base::monotonic_ns() < until;) {
    }
    return Outcome::success();
  });
  fleet.start();
  fleet.put("ticks");
  ASSERT_TRUE(wait_begun(1));
  for (int i = 0; i < 200; ++i) fleet.put("quick");  // so that it claims several at once
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 200));
  engine::Control control(fleet.engine());
  const std::uint32_t queue = must_queue(fleet.segment(), "default");
  control.pause(queue, base::monotonic_ns());
  constexpr std::uint32_t kNotes = 40;
  for (std::uint32_t i = 0; i < kNotes; ++i) fleet.put("notes", std::to_string(i));
  control.resume(queue, base::monotonic_ns());
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 200 + kNotes));
  std::uint32_t same = 0;
  for (std::uint32_t i = 1; i < kNotes; ++i) same += tally->runs[i] == tally->runs[i - 1];
  EXPECT_LE(same, 2u) << "of " << kNotes;  // a count of 256 looks like none
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 201 + kNotes));
}

// Tasks enqueued together share a slot; each is under way by itself, and a kill loses none.
TEST_F(FlightsTest, ItemsOfRunsSurviveAKill) {
  add_until_go();
  fleet.start();
  constexpr std::uint32_t kItems = 150;
  std::vector<std::string> payloads;
  for (std::uint32_t i = 0; i < kItems; ++i) payloads.push_back(std::to_string(i));
  std::vector<engine::TaskSpec> specs(kItems);
  for (std::uint32_t i = 0; i < kItems; ++i) {
    specs[i].queue = must_queue(fleet.segment(), "default");
    specs[i].task = must_task(fleet.segment(), "wait");
    specs[i].payload = std::as_bytes(std::span(payloads[i].data(), payloads[i].size()));
  }
  std::size_t done = 0;
  ASSERT_EQ(fleet.engine().enqueue_many(specs.data(), kItems, nullptr, done, base::monotonic_ns()),
            engine::EnqueueStatus::kOk);
  ASSERT_TRUE(wait_begun(kItems));
  ASSERT_TRUE(wait_until([&] { return fleet.workers().at(0).inflight == kItems; }, kPatience));
  ::kill(static_cast<pid_t>(fleet.workers().at(0).pid), SIGKILL);
  ASSERT_TRUE(wait_begun(2 * kItems));
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, kItems));
  for (std::uint32_t i = 0; i < kItems; ++i) EXPECT_EQ(tally->runs[i], 2u) << i;
  EXPECT_EQ(unsettled(fleet.engine()), "");
}

TEST_F(FlightsTest, APausedWorkerFinishesWhatIsUnderWayAndTakesNothing) {
  add_until_go();
  fleet.start();
  put_many(5);
  ASSERT_TRUE(wait_begun(5));
  engine::Control(fleet.engine()).pause(must_queue(fleet.segment(), "default"), base::monotonic_ns());
  const auto later = fleet.put("wait", "9");
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 5));
  EXPECT_EQ(state_of(later), "queued");
  engine::Control(fleet.engine()).resume(must_queue(fleet.segment(), "default"), base::monotonic_ns());
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 6));
}

TEST_F(FlightsTest, WhereTheKernelRefusesIoUringEpollServes) {
  fleet.handlers.on("look", CoHandler([this](TaskContext& context) -> Co<Outcome> {
                      co_await sleep(std::chrono::milliseconds(1));
                      co_await yield();
                      auto text = co_await read_file("/proc/self/status");
                      tally->epoll = io::Loop::create(io::Backend::kUring).ok() ? 0 : 1;
                      co_return text ? Outcome::success(std::string(context.payload_text()))
                                     : Outcome::fail("read", text.error().message);
                    }));
  fleet.before_run = [] { refuse_io_uring(); };
  fleet.start();
  const auto ids = put_many(300, "look");
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 300));
  EXPECT_EQ(tally->epoll, 1);
  fleet.supervisor().signal(SIGTERM);
  EXPECT_EQ(fleet.supervisor().wait(), 0);
}

// With epoll files are done by threads, and one that the kernel holds cannot be called off.
TEST_F(FlightsTest, AStuckFileOperationEndsWithTheProcessAtTheHardLimit) {
  const auto id = begin_one_that_is_stuck_beside(10);
  ASSERT_TRUE(wait_until([&] { return state_of(id) == "dead"; }, kPatience));
  EXPECT_EQ(static_cast<engine::DeadReason>(fleet.task(id)->failure->reason), engine::DeadReason::kHardTimeLimit);
  EXPECT_TRUE(wait_until([&] { return fleet.restarts(shm::RestartCause::kHardTimeLimit) == 1; }, kPatience));
  ASSERT_TRUE(wait_begun(20)) << "the others run again";
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 10));
}

TEST_F(FlightsTest, AStuckFileOperationEndsWithTheProcessWhileItsSupervisorStandsStill) {
  const auto id = begin_one_that_is_stuck_beside(3);
  fleet.supervisor().stop();
  EXPECT_TRUE(wait_until([&] { return state_of(id) == "dead"; }, kPatience));
  EXPECT_TRUE(wait_until([&] { return is_zombie(tally->pid); }, kPatience));
  fleet.supervisor().resume();
  ASSERT_TRUE(wait_begun(6)) << "the others run again";
  EXPECT_TRUE(wait_until([&] { return fleet.restarts(shm::RestartCause::kHardTimeLimit) == 1; }, kPatience));
  tally->go = 1;
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 3));
}

TEST_F(FlightsTest, EveryFrameIsFreed) {
  fleet.handlers.on("frames", CoHandler([this](TaskContext&) -> Co<Outcome> {
                      tally->frames = static_cast<std::int64_t>(co::frame_use().frames);
                      co_await when_all(sleep_a_little(), sleep_a_little());
                      (void)co_await when_any(sleep_a_little(), sleep_a_little());
                      co_return Outcome::success();
                    }));
  fleet.options.async_slots = 1;
  fleet.start();
  put_many(1, "frames");
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 1));
  const std::int64_t at_first = tally->frames;
  EXPECT_GT(at_first, 0);
  put_many(500, "frames");
  ASSERT_TRUE(wait_counted(shm::Counter::kSucceeded, 501));
  EXPECT_EQ(tally->frames, at_first);
}

}  // namespace
}  // namespace stem::test
