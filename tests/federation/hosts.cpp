#include "tests/federation/hosts.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <numeric>

#include <cstring>
#include <new>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "engine/control.hpp"
#include "federation/payload_text.hpp"
#include "federation/redis_url.hpp"
#include "shm/doorbell.hpp"

namespace stem::test {

RunLedger::RunLedger(std::uint64_t numbers) : numbers_(numbers) {
  void* memory =
      ::mmap(nullptr, (numbers + 2) * sizeof(*counts_), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  STEM_CHECK(memory != MAP_FAILED);
  counts_ = static_cast<std::atomic<std::uint32_t>*>(memory);
}

RunLedger::~RunLedger() { ::munmap(counts_, (numbers_ + 2) * sizeof(*counts_)); }

void RunLedger::ran(std::uint64_t number) {
  if (number < numbers_) counts_[number].fetch_add(1);
}

void RunLedger::begin() {
  const std::uint32_t running = counts_[numbers_].fetch_add(1) + 1;
  std::uint32_t most = counts_[numbers_ + 1].load();
  while (most < running && !counts_[numbers_ + 1].compare_exchange_weak(most, running)) {
  }
}

std::uint64_t RunLedger::missing() const {
  std::uint64_t n = 0;
  for (std::uint64_t i = 0; i < numbers_; ++i) n += runs(i) == 0;
  return n;
}

std::uint64_t RunLedger::extra() const {
  std::uint64_t n = 0;
  for (std::uint64_t i = 0; i < numbers_; ++i) n += runs(i) > 1 ? runs(i) - 1 : 0;
  return n;
}

Host::Host(const std::string& redis_url, RunLedger& ledger)
    : segment_(must_create(small_segment(directory_))),
      attached_(std::make_unique<Attached>(segment_)),
      ledger_(ledger),
      queue_(must_queue(*segment_, "q")),
      task_(must_task(*segment_, "count")) {
  options_.name_space = "test";
  options_.directory = directory_.path();
  options_.redis = *federation::parse_redis_url(redis_url);
  options_.node = directory_.path().substr(directory_.path().rfind('/') + 1);
  options_.exports = {"q"};
  options_.imports = {"q"};
  options_.prefetch_multiplier = 16;
  options_.drain_ns = 1'000'000'000;
}

void Host::start_gateway() {
  gateway_ = Process([this] {
    if (before_gateway_ && !before_gateway_()) return 1;
    const auto ended = federation::run_gateway(options_);
    if (!ended) std::fprintf(stderr, "gateway: %s\n", ended.error().message.c_str());
    return ended ? 0 : 1;
  });
}

int Host::work(Conduct conduct) {
  auto segment = must_attach("test", directory_.path());
  Attached self(segment, shm::Role::kWorker);
  self->self().row().serves_all.store(1);
  engine::TaskView view;
  for (;;) {
    engine::Lease lease;
    self->self().beat();
    if (self->claim(queue_, &lease, 1, base::monotonic_ns()) == 0) {
      self->lanes().clear_marks(queue_);
      (void)shm::sleep_for_work(self->self(), 20'000'000, [&] { return self->maybe_ready(queue_); });
      continue;
    }
    if (!self->view(lease, view) || self->begin(lease, view, base::monotonic_ns()) != engine::Begin::kStart) continue;
    std::string number(reinterpret_cast<const char*>(view.payload.data()), view.payload.size());
    if (const auto json = federation::json_of_message_pack(number)) number = *json;
    ledger_.ran(std::strtoull(number.c_str() + std::strlen("{\"n\":"), nullptr, 10));
    if (conduct == Conduct::kTakeTime) {
      ledger_.begin();
      ::usleep(3000);
      ledger_.end();
    }
    while (conduct == Conduct::kHang) {
      self->self().beat();
      ::usleep(1000);
    }
    if (conduct == Conduct::kUntilRevoked) {
      while (!engine::Control::take_revoke_request(self->self().row(), view.id)) {
        self->self().beat();
        ::usleep(1000);
      }
      (void)self->cancel(lease, view, shm::Counter::kCancelled, {"revoked", "revoked while it ran"},
                         base::monotonic_ns());
      continue;
    }
    const std::string result = "{\"ran\":" + number + "}";
    if (conduct == Conduct::kFailForGood)
      (void)self->bury(lease, view, engine::DeadReason::kPermanentFailure, {"broken", "it never works"},
                       base::monotonic_ns());
    else
      (void)self->succeed(lease, view, std::as_bytes(std::span(result)), base::monotonic_ns());
  }
}

void Host::start_worker(Conduct conduct) {
  workers_.emplace_back([this, conduct] { return work(conduct); });
}

void Host::limit(engine::Rate rate, std::uint32_t at_once) {
  engine::Control::Limits limits;
  limits.set_rate = true;
  limits.rate = rate;
  limits.concurrency = at_once;
  engine::Control(**attached_).set_limits(queue_, limits);
}

void Host::kill_workers() {
  for (Process& worker : workers_) worker.kill();
  workers_.clear();
}

engine::TaskId Host::enqueue(std::uint64_t number, bool keep_result, std::int64_t visibility_ns) {
  const std::string payload = "{\"n\":" + std::to_string(number) + "}";
  engine::TaskSpec spec;
  engine::TaskExtras extras;
  spec.queue = queue_;
  spec.task = task_;
  spec.priority = static_cast<std::uint8_t>(number % 10);
  spec.payload = std::as_bytes(std::span(payload));
  spec.keep_result = keep_result;
  if (visibility_ns != 0) {
    extras.visibility_ns = visibility_ns;
    spec.extras = &extras;
  }
  const auto made = (*attached_)->enqueue(spec, base::monotonic_ns());
  EXPECT_EQ(made.status, engine::EnqueueStatus::kOk);
  return made.id;
}

std::vector<engine::TaskId> Host::enqueue_many(std::uint64_t from, std::uint64_t to) {
  std::vector<std::string> payloads;
  std::vector<engine::TaskSpec> specs;
  for (std::uint64_t i = from; i < to; ++i) payloads.push_back("{\"n\":" + std::to_string(i) + "}");
  for (const std::string& payload : payloads) {
    engine::TaskSpec spec;
    spec.queue = queue_;
    spec.task = task_;
    spec.payload = std::as_bytes(std::span(payload));
    specs.push_back(spec);
  }
  std::size_t done = 0;
  std::vector<engine::TaskId> ids(specs.size());
  EXPECT_EQ((*attached_)->enqueue_many(specs.data(), specs.size(), ids.data(), done, base::monotonic_ns()),
            engine::EnqueueStatus::kOk);
  return ids;
}

std::uint64_t Host::counter(shm::Counter counter) { return total(**attached_, queue_, counter); }

std::uint64_t Host::round_trips() const {
  std::uint64_t counts[base::kHistogramBuckets] = {};
  if (!segment_->read(segment_->layout().gateway, counts, sizeof counts)) return 0;
  return std::accumulate(std::begin(counts), std::end(counts), std::uint64_t{0});
}

void Host::sweep() { (void)(*attached_)->sweep_all(base::monotonic_ns()); }

}  // namespace stem::test
