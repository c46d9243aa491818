#include "virtual_host.hpp"

#include <algorithm>
#include <memory>

#include "engine/verify.hpp"

namespace stem::engine {
namespace {

constexpr const char* kCounterNames[shm::kCounterCount] = {
    "enqueued",    "started",   "succeeded", "failed",   "retried",      "dead-added", "dead-replayed",
    "dead-purged", "cancelled", "expired",   "dropped",  "redelivered",  "fenced",     "deduplicated",
    "rate-denied", "snoozed",   "exported",  "imported", "rate-degraded"};  // the rest are parts of these, or no fate of a task

shm::SegmentOptions options(const test::ScratchDirectory& directory, void (*change)(shm::SegmentOptions&)) {
  shm::SegmentOptions chosen = test::small_segment(directory);
  if (change != nullptr) change(chosen);
  return chosen;
}

}  // namespace

VirtualHost::VirtualHost(void (*change)(shm::SegmentOptions&))
    : segment_(test::must_create(options(directory_, change))),
      producer_(segment_),
      worker_(segment_, shm::Role::kWorker),
      keeping_(segment_, shm::Role::kSupervisor),
      queue_(test::must_queue(*segment_, "q")),
      task_(test::must_task(*segment_, "t")),
      now_(segment_->header().created_monotonic_ns + kHourNs),
      keeper_(*keeping_) {
  worker_->self().row().serves_all.store(1);
  (void)keeper_.step(now_);
}

void VirtualHost::TearDown() {
  patrol();
  patrol();  // what the first one set free
  EXPECT_EQ(test::unsettled(*producer_), "");
}

std::vector<TaskId> VirtualHost::put_many(std::uint64_t first, std::uint64_t count) {
  std::vector<std::unique_ptr<test::Numbered>> tasks;
  std::vector<TaskSpec> specs;
  for (std::uint64_t i = 0; i < count; ++i) {
    tasks.push_back(std::make_unique<test::Numbered>(queue_, task_, first + i));
    specs.push_back(tasks.back()->spec);
  }
  std::vector<TaskId> ids(count);
  std::size_t done = 0;
  EXPECT_EQ(producer_->enqueue_many(specs.data(), count, ids.data(), done, now_), EnqueueStatus::kOk);
  EXPECT_EQ(done, count);
  return ids;
}

std::optional<Held> VirtualHost::take(test::Attached& worker) {
  Held held;
  if (worker->claim(queue_, &held.lease, 1, now_) != 1) return std::nullopt;
  if (!worker->view(held.lease, held.view)) return std::nullopt;
  return held;
}

std::optional<Held> VirtualHost::start(test::Attached& worker) {
  std::optional<Held> held = take(worker);
  if (!held) return std::nullopt;
  began_ = worker->begin(held->lease, held->view, now_);
  if (began_ != Begin::kStart) return std::nullopt;
  return held;
}

std::vector<std::uint64_t> VirtualHost::drain() {
  std::vector<std::uint64_t> numbers;
  for (int nothing = 0; nothing < 3;) {
    Held held;
    if (worker_->claim(queue_, &held.lease, 1, now_) != 1) {
      ++nothing;
      continue;
    }
    nothing = 0;
    if (!worker_->view(held.lease, held.view)) continue;
    if (worker_->begin(held.lease, held.view, now_) != Begin::kStart) continue;
    numbers.push_back(held.number());
    EXPECT_EQ(worker_->succeed(held.lease, held.view, {}, now_), Settled::kDone);
  }
  return numbers;
}

Settled VirtualHost::succeed(test::Attached& worker, const Held& task, std::string_view result) {
  return worker->succeed(task.lease, task.view, std::as_bytes(std::span(result.data(), result.size())), now_);
}

bool VirtualHost::fail(const Held& task, std::string_view kind, std::string_view message, std::int64_t delay_ns) {
  bool retried = false;
  EXPECT_EQ(worker_->fail(task.lease, task.view, {kind, message}, delay_ns, now_, retried), Settled::kDone);
  return retried;
}

void VirtualHost::pass(std::int64_t ns) {
  const std::int64_t until = now_ + ns;
  while (now_ < until) {
    const std::int64_t next = keeper_.step(now_);
    now_ = std::min(until, std::max(next, now_ + 1));
    producer_->self().beat();
    if (worker_beats_) worker_->self().beat();
  }
  (void)keeper_.step(now_);
}

std::string VirtualHost::tally(std::uint32_t queue) {
  const CounterTotals totals = Query(*producer_).counters(queue);
  std::string text;
  for (std::uint32_t c = 0; c < shm::kCounterCount; ++c) {
    if (totals.value[c] == 0 || kCounterNames[c] == nullptr) continue;
    if (!text.empty()) text += ' ';
    text += std::string(kCounterNames[c]) + ' ' + std::to_string(totals.value[c]);
  }
  return text;
}

std::string VirtualHost::state_of(TaskId id) {
  const std::optional<TaskInfo> info = Query(*producer_).task(id);
  return info ? info->state_name : "gone";
}

}  // namespace stem::engine
