// Many tasks from host to host through both gateways: does their memory stay as it is, and does Redis forget them.
#include <fmt/format.h>

#include "bench/failure.hpp"
#include "bench/federation.hpp"
#include "engine/query.hpp"

namespace stem::bench {

namespace {

constexpr std::uint64_t kAhead = 20'000;  // tasks under way, at most
constexpr std::uint64_t kAtOnce = 1000;

struct Stage {
  alignas(64) std::atomic<std::uint64_t> ran{0};  // W: worker
  alignas(64) std::atomic<std::uint32_t> stop{0};
  Passing::Sample samples[3];
  double seconds = 0;
};

void send(const Scene& host, const Stage& stage, std::uint64_t tasks, std::uint32_t payload_bytes) {
  Seat seat(host, shm::Role::kClient, "producer");
  for (std::uint64_t sent = 0; sent < tasks;) {
    if (sent > stage.ran.load(std::memory_order_relaxed) + kAhead) {
      nap_us(1000);
      continue;
    }
    const std::uint64_t to = std::min(tasks, sent + kAtOnce);
    enqueue_numbers(seat, seat.queue(), sent, to, payload_bytes);
    sent = to;
  }
}

void watch(const RedisServer& redis, const GatewayProcess& exporting, const GatewayProcess& importing, Stage& stage,
           std::uint64_t tasks) {
  RedisClient client(redis.socket());
  const std::uint64_t from = ticks_now();
  const std::uint64_t at[] = {tasks / 10, tasks / 2, tasks};
  for (std::size_t i = 0; i < std::size(at); ++i) {
    while (stage.ran.load(std::memory_order_relaxed) < at[i]) nap_us(500);
    stage.samples[i] = {at[i], resident_of(exporting.pid()), resident_of(importing.pid())};
  }
  while (client.command({"XLEN", kStreamKey})->integer != 0) nap_us(1000);  // the last ends are told
  stage.seconds = static_cast<double>(ticks_now() - from) * ns_per_tick() * 1e-9;
  stage.stop.store(1, std::memory_order_relaxed);
}

}  // namespace

Passing pass_through(const RedisServer& redis, std::uint64_t tasks, std::uint32_t payload_bytes) {
  RedisClient client(redis.socket());
  client.command({"FLUSHALL"});
  shm::SegmentOptions small;
  small.slot_count = 1u << 16;
  const Scene origin(small), target(small);
  Shared<Stage> stage;
  const GatewayProcess exporting(origin, redis, {{kBenchQueue}, {}});
  const GatewayProcess importing(target, redis, {{}, {kBenchQueue}});
  run_processes({{kAnyCpu, [&] { send(origin, *stage, tasks, payload_bytes); }},
                 {kAnyCpu,
                  [&] {
                    Seat seat(target, shm::Role::kWorker, "worker");
                    serve(seat, stage->stop,
                          [&](const engine::TaskView&) { stage->ran.fetch_add(1, std::memory_order_relaxed); });
                  }},
                 {kAnyCpu, [&] { watch(redis, exporting, importing, *stage, tasks); }}},
                std::chrono::minutes(10));
  if (stage->ran.load() != tasks) throw Failure(fmt::format("{} tasks ran, {} were sent", stage->ran.load(), tasks));
  Passing passing;
  passing.samples.assign(std::begin(stage->samples), std::end(stage->samples));
  passing.seconds = stage->seconds;
  passing.left_in_stream = static_cast<std::uint64_t>(client.command({"XLEN", kStreamKey})->integer);
  passing.left_pending =
      static_cast<std::uint64_t>(client.command({"XPENDING", kStreamKey, kGroupKey})->element[0]->integer);
  return passing;
}

}  // namespace stem::bench
