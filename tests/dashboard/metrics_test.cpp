// /metrics, /healthz and /readyz of the real program, checked by Prometheus' own tool.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>

#include "running_dashboard.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/process.hpp"

namespace stem::dashboard_test {
namespace {

using cli_test::End;
using cli_test::Scene;
using cli_test::TestWorker;
using ::testing::HasSubstr;
using ::testing::Not;

// What `promtool check metrics` finds wrong with a text; empty when nothing.
std::string faults_of(const std::string& metrics) {
  const cli_test::TemporaryDirectory place;
  const std::string path = place.write("metrics.txt", metrics);
  const auto outcome = cli_test::run_program({"/bin/sh", "-c", fmt::format("promtool check metrics < {} 2>&1", path)});
  return outcome.exit_code == 0 ? outcome.out : outcome.out + outcome.err + "(promtool failed)";
}

double value_of(const std::string& metrics, const std::string& series) {
  const std::size_t at = metrics.find("\n" + series + " ");
  return at == std::string::npos ? -1 : std::strtod(metrics.c_str() + at + series.size() + 2, nullptr);
}

std::string metrics_with(const RunningDashboard& dashboard, const std::string& series, double value) {
  std::string text;
  EXPECT_TRUE(test::wait_until([&] {
    const auto answer = dashboard.get("/metrics");
    if (!answer || answer->status != 200) return false;
    text = answer->body;
    return value_of(text, series) == value;
  })) << series
      << " is not " << value << " in\n"
      << text;
  return text;
}

void fill(Scene& scene) {
  auto segment = scene.segment();
  for (int i = 0; i < 10; ++i) (void)scene.enqueue({"good", "-q", "work"});
  (void)scene.enqueue({"bad", "-q", "work"});
  TestWorker worker(segment, "work", [](const engine::TaskView& task, std::string&) {
    return task.task == 1 ? End::kBury : End::kSucceed;
  });
  worker.await(11);
  (void)scene.enqueue({"later", "-q", "work", "--delay", "1h"});
}

TEST(Metrics, PromtoolFindsNothingWrongWithThem) {
  Scene scene;
  fill(scene);
  const RunningDashboard dashboard(scene);
  const std::string text = metrics_with(dashboard, R"(stem_tasks_succeeded_total{namespace="stem",queue="work"})", 10);
  EXPECT_EQ(faults_of(text), "");
  EXPECT_THAT(faults_of("stem_bad_total 1\n# TYPE x counter\nx{ 1\n"), HasSubstr("promtool failed"));
  EXPECT_EQ(value_of(text, R"(stem_dlq_added_total{namespace="stem",queue="work",reason="permanent-failure"})"), 1);
  EXPECT_EQ(value_of(text, R"(stem_dlq_added_total{namespace="stem",queue="work",reason="poison-pill"})"), 0);
  EXPECT_EQ(value_of(text, R"(stem_tasks_redelivered_total{namespace="stem",queue="work",cause="worker-death"})"), 0);
  EXPECT_EQ(value_of(text, R"(stem_worker_restarts_total{namespace="stem",cause="signal"})"), 0);
  EXPECT_EQ(value_of(text, R"(stem_lease_renewed_total{namespace="stem",queue="work"})"), 0);
  EXPECT_EQ(value_of(text, R"(stem_tasks_signature_invalid_total{namespace="stem",queue="work"})"), 0);
  EXPECT_EQ(value_of(text, R"(stem_queue_delayed{namespace="stem",queue="work"})"), 1);
  EXPECT_EQ(value_of(text, R"(stem_task_duration_seconds_count{namespace="stem",task="good"})"), 10);
  EXPECT_EQ(value_of(text, R"(queue_depth_ready{namespace="stem",queue="work"})"), 0);
  EXPECT_EQ(value_of(text, R"(tasks_processed_total{namespace="stem",status="succeeded"})"), 10);
  EXPECT_EQ(dashboard.get("/metrics")->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
}

TEST(Metrics, PartsAndWhatIsCountedOutsideOfQueuesAreReadFromTheSegment) {
  Scene scene;
  auto segment = scene.segment();
  const std::uint32_t queue = test::must_queue(*segment, "work");
  const test::Attached self(segment);
  for (int i = 0; i < 3; ++i) self.participant->count(queue, shm::counter_after(shm::Counter::kRedeliveredFirst, 2));
  self.participant->count_renewal(queue, 7);
  self.participant->row().restarts[static_cast<int>(shm::RestartCause::kRecycledMemory)].store(2);
  const shm::Offset at = segment->layout().gateway;
  ASSERT_TRUE(segment->commit(at, sizeof(shm::GatewayFigures)));
  auto& figures = *segment->at<shm::GatewayFigures>(at);
  figures.round_trip[base::histogram_bucket(1'000'000)].store(4);
  figures.round_trip_sum_ns.store(4'000'000);
  const RunningDashboard dashboard(scene);
  const std::string text = metrics_with(
      dashboard, R"(stem_tasks_redelivered_total{namespace="stem",queue="work",cause="lease-expired"})", 3);
  EXPECT_EQ(value_of(text, R"(stem_lease_renewed_total{namespace="stem",queue="work"})"), 7);
  EXPECT_EQ(value_of(text, R"(stem_worker_restarts_total{namespace="stem",cause="max-memory"})"), 2);
  EXPECT_EQ(value_of(text, R"(stem_federation_round_trip_seconds_count{namespace="stem"})"), 4);
  EXPECT_EQ(value_of(text, R"(stem_federation_round_trip_seconds_sum{namespace="stem"})"), 0.004);
  EXPECT_EQ(faults_of(text), "");
}

// A name that a producer chose must not cost a reader all other figures.
TEST(Metrics, HostileNamesStayValid) {
  Scene scene;
  const std::string hostile = "q\"}\\\xff\xfe{x=\"1\"}9";
  (void)scene.segment();
  {
    const test::Attached self(scene.segment());
    const std::uint32_t queue = test::must_queue(self.participant->segment(), hostile);
    const test::Numbered task(queue, test::must_task(self.participant->segment(), hostile), 1);
    ASSERT_EQ(self->enqueue(task.spec, 0).status, engine::EnqueueStatus::kOk);
  }
  const RunningDashboard dashboard(scene);
  ASSERT_TRUE(test::wait_until([&] { return dashboard.get("/readyz")->status == 200; }));
  const std::string text = dashboard.get("/metrics")->body;
  EXPECT_EQ(faults_of(text), "");
  EXPECT_TRUE(std::regex_search(text, std::regex(R"(queue_depth_ready\{namespace="stem",queue="q[^\n]+"\} 1\n)")));
}

TEST(Metrics, WaitingAndRunningAndWhoMayStop) {
  Scene scene;
  (void)scene.segment();
  for (int i = 0; i < 3; ++i) (void)scene.enqueue({"slow", "-q", "work"});
  const RunningDashboard dashboard(scene);
  // A task ends when the test says so. Prefetched tasks are in the worker's hands.
  RunningStem worker(scene, {"worker", "start", "-q", "work", "-c", "1", "--prefetch-multiplier", "1", "--exec",
                             "slow=sh -c 'until [ -e go ]; do sleep 0.01; done'"});
  const std::string busy = metrics_with(dashboard, R"(queue_depth_running{namespace="stem",queue="work"})", 1);
  EXPECT_EQ(value_of(busy, R"(queue_depth_ready{namespace="stem",queue="work"})"), 2);
  EXPECT_EQ(value_of(busy, R"(queue_depth_work{namespace="stem",queue="work"})"), 3);
  const auto safe_to_stop = [](const std::string& text) {
    std::smatch match;
    return std::regex_search(text, match, std::regex(R"(stem_worker_safe_to_stop\{[^}]+\} ([01])\n)")) ? match[1].str()
                                                                                                       : "none";
  };
  EXPECT_EQ(safe_to_stop(busy), "0");
  std::ofstream(scene.directory() + "/go").put('!');
  const std::string idle = metrics_with(dashboard, R"(queue_depth_work{namespace="stem",queue="work"})", 0);
  EXPECT_EQ(safe_to_stop(idle), "1") << idle;
  EXPECT_EQ(worker.stop(), 0);
}

// Read from the segment itself: a worker that stands still, or is gone, keeps nothing back.
TEST(Metrics, AreThereWithWorkersStoppedOrKilled) {
  Scene scene;
  auto segment = scene.segment();
  for (int i = 0; i < 4; ++i) (void)scene.enqueue({"t", "-q", "work"});
  test::Process holder([&] {
    auto own = shm::Segment::attach("stem", scene.directory());
    const test::Attached self(*own, shm::Role::kWorker);
    engine::Lease leases[2];
    const std::uint32_t queue = test::must_queue(**own, "work");
    if (self->claim(queue, leases, 2, base::monotonic_ns()) != 2) return 1;
    for (;;) pause();
  });
  const RunningDashboard dashboard(scene);
  (void)metrics_with(dashboard, R"(stem_queue_inflight{namespace="stem",queue="work"})", 2);
  holder.stop();
  EXPECT_EQ(faults_of(dashboard.get("/metrics")->body), "");
  holder.kill();
  const std::string text = metrics_with(dashboard, R"(stem_queue_depth{namespace="stem",queue="work"})", 2);
  EXPECT_EQ(faults_of(text), "");
}

TEST(Signs, AliveAtOnceAndReadyWithASegment) {
  Scene scene;
  RunningDashboard dashboard(scene);
  EXPECT_EQ(dashboard.get("/healthz")->status, 200);
  const auto before = dashboard.get("/readyz");
  EXPECT_EQ(before->status, 503);
  EXPECT_THAT(before->body, HasSubstr("no segment for namespace 'stem'"));
  EXPECT_THAT(dashboard.get("/metrics")->body, HasSubstr("stem_up{namespace=\"stem\"} 0\n"));
  (void)scene.segment();
  EXPECT_TRUE(test::wait_until([&] { return dashboard.get("/readyz")->status == 200; }));
  EXPECT_THAT(dashboard.get("/metrics")->body, HasSubstr("stem_up{namespace=\"stem\"} 1\n"));
  ASSERT_EQ(scene.run({"segment", "destroy", "--force", "--yes"}).exit_code, 0);
  EXPECT_TRUE(test::wait_until([&] { return dashboard.get("/readyz")->status == 503; }));
  EXPECT_THAT(dashboard.get("/readyz")->body, HasSubstr("no segment for namespace 'stem'"));
  EXPECT_EQ(dashboard.get("/healthz")->status, 200);
  EXPECT_EQ(dashboard.stop(), 0);
}

TEST(Signs, ItNeedsNoRowAndItsMappingIsReadOnly) {
  Scene scene;
  fill(scene);
  RunningDashboard dashboard(scene);
  ASSERT_TRUE(test::wait_until([&] { return dashboard.get("/readyz")->status == 200; }));
  std::ifstream maps("/proc/" + std::to_string(dashboard.pid()) + "/maps");
  std::uint64_t writable = 0;
  std::uint64_t all = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(scene.directory()) == std::string::npos) continue;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    char rights[5] = {};
    ASSERT_EQ(std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, rights), 3) << line;
    all += end - begin;
    if (rights[1] == 'w') writable += end - begin;
  }
  EXPECT_GE(all, scene.segment()->layout().total_bytes);
  EXPECT_EQ(writable, 0U);
  EXPECT_EQ(scene.run_json({"segment", "info"})["participants"].size(), 0U) << "and it is running";
  EXPECT_EQ(dashboard.stop(), 0);
  EXPECT_EQ(scene.run({"segment", "verify"}).exit_code, 0);
}

}  // namespace
}  // namespace stem::dashboard_test
