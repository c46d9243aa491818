#include "scene.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/clock.hpp"
#include "tests/support/attached.hpp"

namespace stem::cli_test {
namespace {

constexpr auto kLongestWait = std::chrono::seconds(60);

}  // namespace

Scene::Scene() {
  std::string pattern = "/dev/shm/stem-cli-test-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  directory_ = pattern;
}

Scene::~Scene() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

RunOptions Scene::options() const { return {.environment = {{"STEM_SHM_DIRECTORY", directory_}}}; }

Outcome Scene::run(const std::vector<std::string>& args) const { return run_stem(args, options()); }

nlohmann::json Scene::run_json(std::vector<std::string> args, int exit_code) const {
  args.emplace_back("--json");
  const Outcome outcome = run(args);
  EXPECT_EQ(outcome.exit_code, exit_code) << ::testing::PrintToString(args) << outcome.err;
  auto document = nlohmann::json::parse(outcome.out, nullptr, /*allow_exceptions=*/false);
  EXPECT_FALSE(document.is_discarded()) << ::testing::PrintToString(args) << outcome.out;
  return document.is_discarded() ? nlohmann::json::object() : document;
}

Outcome Scene::shell(const std::string& line) const { return run_program({"/bin/sh", "-c", line}, options()); }

std::shared_ptr<shm::Segment> Scene::segment() {
  shm::SegmentOptions small;
  small.directory = directory_;
  small.slot_count = 4096;
  small.participant_count = 32;
  small.queue_count = 64;
  small.task_count = 64;
  small.block_bytes = 64U << 20;
  auto segment = shm::Segment::open_or_create(small);
  if (!segment.ok()) {
    ADD_FAILURE() << segment.error().message;
    std::abort();
  }
  return *segment;
}

std::string Scene::enqueue(const std::vector<std::string>& args) const {
  std::vector<std::string> words{"enqueue"};
  words.insert(words.end(), args.begin(), args.end());
  const Outcome outcome = run(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome.out.substr(0, outcome.out.find('\n'));
}

TestWorker::TestWorker(std::shared_ptr<shm::Segment> segment, std::string queue, Handler handler)
    : segment_(std::move(segment)),
      queue_(std::move(queue)),
      handler_(std::move(handler)),
      thread_([this] { run(); }) {}

TestWorker::~TestWorker() {
  stop_.store(true);
  thread_.join();
}

void TestWorker::await(std::uint64_t count) const {
  const auto deadline = std::chrono::steady_clock::now() + kLongestWait;
  while (ended_.load() < count && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  ASSERT_GE(ended_.load(), count);
}

void TestWorker::run() {
  const test::Attached self(segment_, shm::Role::kWorker);
  const std::uint32_t queue = test::must_queue(*segment_, queue_);
  while (!stop_.load()) {
    self.participant->beat();
    engine::Lease lease;
    if (self->claim(queue, &lease, 1, base::monotonic_ns()) == 0) {
      std::this_thread::yield();
      continue;
    }
    engine::TaskView task;
    if (!self->view(lease, task)) continue;
    if (self->begin(lease, task, base::monotonic_ns()) != engine::Begin::kStart) continue;
    const std::int64_t started_ns = base::monotonic_ns();
    std::string result;
    const End end = handler_(task, result);
    const std::int64_t now_ns = base::monotonic_ns();
    bool retried = false;
    engine::Settled settled = engine::Settled::kDone;
    switch (end) {
      case End::kSucceed: settled = self->succeed(lease, task, std::as_bytes(std::span(result)), now_ns); break;
      case End::kFail: settled = self->fail(lease, task, {"TestError", "it was told to"}, 0, now_ns, retried); break;
      case End::kBury:
        settled =
            self->bury(lease, task, engine::DeadReason::kPermanentFailure, {"TestError", "it was told to"}, now_ns);
        break;
    }
    self.participant->record_duration(task.task, now_ns - started_ns);
    EXPECT_EQ(settled, engine::Settled::kDone);
    ended_.fetch_add(1);
  }
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

}  // namespace stem::cli_test
