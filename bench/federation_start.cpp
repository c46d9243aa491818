// Host to host: one task at a time, from the enqueue on one host to the start of its handler on another, and beside
// each the round trip of a bare client.
#include <fmt/format.h>

#include "base/clock.hpp"
#include "bench/failure.hpp"
#include "bench/federation.hpp"

namespace stem::bench {

namespace {

constexpr std::uint64_t kWarmUp = 20;
constexpr std::uint32_t kPayloadBytes = 64;
constexpr long kIdleUs = 3000;  // everybody has gone to sleep
constexpr long kLookUs = 1000;  // the handler leaves its time: who looks for it must not run beside what is measured
constexpr std::uint32_t kSpinUs = 10'000'000;  // longer than from one task to the next
constexpr std::int64_t kPatienceNs = 10'000'000'000;

struct Stage {
  alignas(64) std::atomic<std::uint64_t> started{0};        // W: worker: how many
  alignas(64) std::atomic<std::uint64_t> started_ticks{0};  // W: worker: when the last one did
  alignas(64) std::atomic<std::uint32_t> stop{0};
};

std::uint64_t ping_ticks(RedisClient& client) {
  const std::uint64_t from = ticks_now();
  client.command({"PING"});
  return ticks_now() - from;
}

// The stamps are of one clock: the counters of all cores agree.
std::uint64_t start_ticks(Seat& seat, Stage& stage, std::uint64_t number) {
  const std::string payload = federation_payload(number, kPayloadBytes);
  engine::TaskSpec spec;
  spec.queue = seat.queue();
  spec.task = seat.task();
  spec.payload = std::as_bytes(std::span(payload));
  const std::uint64_t from = ticks_now();
  const auto status = seat.engine().enqueue(spec, base::monotonic_ns()).status;
  if (status != engine::EnqueueStatus::kOk) throw Failure(fmt::format("enqueue said {}", engine::to_string(status)));
  const std::int64_t until_ns = base::monotonic_ns() + kPatienceNs;
  // order(bench.answer): acquire; the handler has started, and when
  while (stage.started.load(std::memory_order_acquire) != number + 1) {
    if (base::monotonic_ns() > until_ns) throw Failure(fmt::format("task {} never came to the other host", number));
    nap_us(kLookUs);
  }
  return stage.started_ticks.load(std::memory_order_relaxed) - from;
}

void send(const Scene& host, const RedisServer& redis, Stage& stage, std::span<std::uint64_t> starts,
          std::span<std::uint64_t> pings) {
  Seat seat(host, shm::Role::kClient, "producer");
  RedisClient client(redis.socket());
  for (std::uint64_t i = 0; i < kWarmUp + starts.size(); ++i) {
    nap_us(kIdleUs);
    const std::uint64_t ping = ping_ticks(client);
    nap_us(kIdleUs);
    const std::uint64_t start = start_ticks(seat, stage, i);
    if (i < kWarmUp) continue;
    pings[i - kWarmUp] = ping;
    starts[i - kWarmUp] = start;
  }
  stage.stop.store(1, std::memory_order_relaxed);
}

}  // namespace

HostToHost host_to_host(const RedisServer& redis, std::uint64_t tasks, bool gateways_spin) {
  RedisClient(redis.socket()).command({"FLUSHALL"});
  shm::SegmentOptions small;
  small.slot_count = 1u << 16;
  const Scene origin(small), target(small);
  Shared<Stage> stage;
  SharedMemory memory(2 * tasks * sizeof(std::uint64_t));
  auto* ticks = static_cast<std::uint64_t*>(memory.data());
  const std::span<std::uint64_t> starts(ticks, tasks), pings(ticks + tasks, tasks);
  const std::uint32_t spin_us = gateways_spin ? kSpinUs : 0;
  const GatewayProcess exporting(origin, redis, {.exports = {kBenchQueue}, .spin_us = spin_us});
  const GatewayProcess importing(target, redis, {.imports = {kBenchQueue}, .spin_us = spin_us});
  run_processes({{kAnyCpu, [&] { send(origin, redis, *stage, starts, pings); }},
                 {kAnyCpu,
                  [&] {
                    Seat seat(target, shm::Role::kWorker, "worker");
                    serve(seat, stage->stop, [&](const engine::TaskView&) {
                      stage->started_ticks.store(ticks_now(), std::memory_order_relaxed);
                      // order(bench.answer): release
                      stage->started.fetch_add(1, std::memory_order_release);
                    });
                  }}},
                std::chrono::minutes(5));
  return {percentiles_of_ticks(starts), percentiles_of_ticks(pings)};
}

}  // namespace stem::bench
