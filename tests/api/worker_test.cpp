// Handlers in a real worker program: worker_main(), supervisor, forked and pinned processes.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "private_segments.hpp"
#include "stem/client.hpp"
#include "stem/events.hpp"
#include "worker_tasks.hpp"

namespace stem::api_tests {
namespace {

class WorkerProgram {
 public:
  explicit WorkerProgram(std::vector<std::string> flags) {
    flags.insert(flags.begin(), STEM_BUILD_BIN_DIR "/api_worker");
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    ::setenv("STEM_LOG", "error", 1);
    std::vector<char*> arguments;
    for (auto& f : flags) arguments.push_back(f.data());
    arguments.push_back(nullptr);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  ~WorkerProgram() {
    if (pid_ > 0) (void)stop();
  }
  // Its exit code; 128 + signal.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  int stop() {
    ::kill(pid_, SIGTERM);
    return wait();
  }

 private:
  pid_t pid_ = -1;
};

class WorkerTest : public ::testing::Test {
 protected:
  WorkerTest() : client_(std::move(*Client::open("w", {.task_capacity = 4096}))) {}
  PrivateSegments segments_;
  Client client_;
};

const std::vector<std::string> kTwo = {"--namespace", "w", "-c", "2", "--pin", "none"};

TEST_F(WorkerTest, TypedAndRawTasksRun) {
  auto early = client_.enqueue(repeat, {"ab", 3});  // before there is a worker
  WorkerProgram worker(kTwo);
  auto text = early->get(20s);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_EQ(*text, "ababab");
  const std::string bytes = "abc";
  auto raw = client_.enqueue_raw("reverse", std::as_bytes(std::span(bytes)))->get(20s);
  ASSERT_TRUE(raw.ok()) << raw.error().message;
  EXPECT_EQ(std::to_integer<char>(raw->front()), 'c');
  EXPECT_EQ(*client_.enqueue(parent, 2)->get(20s), 1);
  EXPECT_EQ(worker.stop(), 0);
}

TEST_F(WorkerTest, ExceptionsCrashesAndWrongPayloads) {
  WorkerProgram worker(kTwo);
  auto thrown = client_.enqueue(throws, 1)->get(20s);
  ASSERT_FALSE(thrown.ok());
  EXPECT_EQ(thrown.error().code, Errc::kRefused);
  EXPECT_NE(thrown.error().message.find("std::out_of_range: too far"), std::string::npos) << thrown.error().message;
  auto survived = client_.enqueue(dies_once, 7)->get(20s);
  ASSERT_TRUE(survived.ok()) << survived.error().message;
  EXPECT_EQ(*survived, 7);
  constexpr Task<std::string(double)> wrong{"repeat"};
  auto refused = client_.enqueue(wrong, 1.0)->get(20s);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("payload"), std::string::npos);
  auto unknown = client_.enqueue_raw("never.heard.of", {});
  ASSERT_TRUE(unknown.ok()) << unknown.error().message;
  const auto end = unknown->wait(20s);
  ASSERT_TRUE(end.ok()) << end.error().message;
  EXPECT_EQ(*end, TaskState::kDead);
  auto again = client_.enqueue(retried_by_us, 1)->get(20s);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(*again, 2);
}

TEST_F(WorkerTest, ConcurrencyLimitKeepsThemApart) {
  WorkerProgram worker(kTwo);
  std::vector<Handle<Span>> handles;
  for (int i = 0; i < 6; ++i) handles.push_back(*client_.enqueue(alone, 10));
  std::vector<Span> spans;
  for (auto& h : handles) {
    auto span = h.get(30s);
    ASSERT_TRUE(span.ok()) << span.error().message;
    spans.push_back(*span);
  }
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.start_ns < b.start_ns; });
  for (std::size_t i = 1; i < spans.size(); ++i) EXPECT_LE(spans[i - 1].end_ns, spans[i].start_ns);
}

TEST_F(WorkerTest, AnAffinityKeyStaysWithOneWorker) {
  WorkerProgram worker(kTwo);
  const auto pid_of = [this](const std::string& key) {
    auto span = client_.enqueue(where, 1, {.affinity_key = key})->get(20s);
    EXPECT_TRUE(span.ok()) << span.error().message;
    return span.ok() ? span->pid : 0;
  };
  // A process that is not up yet gets no key: other keys, until both have had one.
  std::set<int> up;
  for (int i = 0; up.size() < 2 && i < 10'000; ++i) up.insert(pid_of("camera " + std::to_string(i)));
  ASSERT_EQ(up.size(), 2u);
  std::set<int> pids;
  for (int i = 0; i < 8; ++i) pids.insert(pid_of("camera 4"));
  EXPECT_EQ(pids.size(), 1u);
}

TEST_F(WorkerTest, SoftAndHardTimeLimits) {
  WorkerProgram worker(kTwo);
  auto stopped = client_.enqueue(soft, 1)->get(20s);
  ASSERT_TRUE(stopped.ok()) << stopped.error().message;
  EXPECT_EQ(*stopped, "stopped");
  auto killed = client_.enqueue(hard, 1)->get(20s);
  ASSERT_FALSE(killed.ok());
  EXPECT_NE(killed.error().message.find("hard"), std::string::npos) << killed.error().message;
  EXPECT_TRUE(client_.enqueue(repeat, {"a", 1})->get(20s).ok());
}

TEST_F(WorkerTest, ARunningTaskCanBeRevoked) {
  WorkerProgram worker(kTwo);
  auto handle = client_.enqueue(until_stopped, 1);
  const auto patience = std::chrono::steady_clock::now() + 20s;
  while (*handle->state() != TaskState::kRunning && std::chrono::steady_clock::now() < patience) ::usleep(200);
  ASSERT_EQ(*handle->state(), TaskState::kRunning);
  EXPECT_EQ(*handle->revoke(), TaskState::kRunning);  // left alone
  EXPECT_EQ(*handle->revoke(/*terminate=*/true), TaskState::kRunning);
  const auto end = handle->wait(20s);
  ASSERT_TRUE(end.ok()) << end.error().message;
  EXPECT_EQ(*end, TaskState::kCancelled);
}

TEST_F(WorkerTest, EventsAreHeardInTheWorkerAndFollowedFromOutside) {
  const std::string heard = segments_.directory() + "/heard";
  ::setenv("STEM_TEST_EVENTS", heard.c_str(), 1);
  auto events = Events::follow("w");
  ASSERT_TRUE(events.ok()) << events.error().message;
  WorkerProgram worker(kTwo);
  EXPECT_EQ(*client_.enqueue(retried_by_us, 1)->get(20s), 2);
  EXPECT_EQ(worker.stop(), 0);
  ::unsetenv("STEM_TEST_EVENTS");
  std::vector<std::string> followed;
  for (auto some = events->wait(0s); !some.empty(); some = events->wait(0s))
    for (const Event& e : some) {
      if (e.task == retried_by_us.name) followed.emplace_back(e.name);
      EXPECT_FALSE(e.by.empty()) << e.name;
    }
  EXPECT_EQ(followed, (std::vector<std::string>{"after-task-publish", "task-prerun", "task-retry", "task-prerun",
                                                "task-retry", "task-prerun", "task-succeeded"}));
  EXPECT_EQ(events->missed(), 0u);
  // The same in the worker itself, but for what the producer did.
  std::ifstream in(heard);
  std::vector<std::string> names;
  for (std::string line; std::getline(in, line);)
    if (line.find(std::string(retried_by_us.name)) != std::string::npos)
      names.push_back(line.substr(0, line.find(' ')));
  EXPECT_EQ(names, std::vector<std::string>(followed.begin() + 1, followed.end()));
  EXPECT_EQ(Events::follow("nowhere").error().code, Errc::kNotFound);
}

TEST_F(WorkerTest, EachStepIsFollowedByWhoAsksForIt) {
  auto events = Events::follow("w", {}, EventDetail::kSteps);
  ASSERT_TRUE(events.ok()) << events.error().message;
  WorkerProgram worker(kTwo);
  EXPECT_EQ(*client_.enqueue(retried_by_us, 1)->get(20s), 2);
  std::vector<std::string> followed;
  bool heartbeat = false, over = false;  // the first heartbeat may come before the task's events, or after
  for (int i = 0; i < 4000 && !(heartbeat && over); ++i)
    for (const Event& e : events->wait(5ms)) {
      if (e.task == retried_by_us.name)
        followed.push_back(std::string(e.name) + (e.name == "task-postrun" ? ": " + e.text : ""));
      heartbeat = heartbeat || e.name == "worker-heartbeat";
      over = over || (e.name == "task-postrun" && e.text == "succeeded");
    }
  EXPECT_TRUE(heartbeat);
  EXPECT_EQ(worker.stop(), 0);
  EXPECT_EQ(followed, (std::vector<std::string>{"before-task-publish", "after-task-publish", "task-received",
                                                "task-prerun", "task-retry", "task-postrun: retried", "task-received",
                                                "task-prerun", "task-retry", "task-postrun: retried", "task-received",
                                                "task-prerun", "task-succeeded", "task-postrun: succeeded"}));
}

TEST_F(WorkerTest, ATraceGoesOnInWhatAHandlerEnqueues) {
  auto events = Events::follow("w");
  ASSERT_TRUE(events.ok()) << events.error().message;
  WorkerProgram worker(kTwo);
  const std::string trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  EXPECT_EQ(*client_.enqueue(parent, 2, {.headers = {{"traceparent", trace}}})->get(20s), 1);
  std::string of_child;
  for (int i = 0; i < 4000 && of_child.empty(); ++i)
    for (const Event& e : events->wait(5ms))
      if (e.task == repeat.name && e.name == "task-prerun") of_child = e.text;
  ASSERT_EQ(of_child.size(), trace.size());
  EXPECT_EQ(of_child.substr(0, 36), trace.substr(0, 36)) << "the same trace";
  EXPECT_NE(of_child.substr(36, 16), trace.substr(36, 16)) << "by another parent: the attempt that enqueued it";
  EXPECT_EQ(worker.stop(), 0);
}

TEST_F(WorkerTest, BadFlagsAndBadOptionsAreErrors) {
  EXPECT_EQ(WorkerProgram({"--pin", "nowhere"}).wait(), 2);
  EXPECT_EQ(WorkerProgram({"--autoscale", "5,1"}).wait(), 2);
  EXPECT_EQ(WorkerProgram({"--no-such-flag"}).wait(), 2);
  EXPECT_EQ(WorkerProgram({"--max-memory-per-child", "lots"}).wait(), 2);
  EXPECT_EQ(WorkerProgram({"--help"}).wait(), 0);
  ::setenv("STEM_TEST_BAD_RATE", "1", 1);
  EXPECT_EQ(WorkerProgram({"--namespace", "w"}).wait(), 70);
  ::unsetenv("STEM_TEST_BAD_RATE");
}

}  // namespace
}  // namespace stem::api_tests
