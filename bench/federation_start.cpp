// Host to host: one task at a time, from the enqueue on one host to the start of its handler on another, and beside
// each the round trip of a bare client; and the same way without Stem.
#include <fmt/format.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

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

// A futex, and a count beside it that says why one was woken.
struct Bell {
  alignas(64) std::atomic<std::uint32_t> rung{0};  // W: who rings

  void ring() noexcept {
    // order(bench.wake): release; whoever sees it sees what it was rung for
    rung.fetch_add(1, std::memory_order_release);
    syscall(SYS_futex, &rung, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }
  // Until it has been rung `times`; false if that takes too long.
  bool sleep_until(std::uint32_t times) noexcept {
    const timespec patience{kPatienceNs / 1'000'000'000, 0};
    const std::int64_t until_ns = base::monotonic_ns() + kPatienceNs;
    for (;;) {
      // order(bench.wake): acquire; the value decides, a ring before the wait is not lost
      const std::uint32_t seen = rung.load(std::memory_order_acquire);
      if (seen >= times) return true;
      if (base::monotonic_ns() > until_ns) return false;
      syscall(SYS_futex, &rung, FUTEX_WAIT, seen, &patience, nullptr, 0);
    }
  }
};

// The same four hand-overs by programs that do nothing else: a sleeper that is rung and adds an entry, Redis, a
// client that waits for entries and rings another sleeper.
struct BareStage {
  Bell to_send, to_start;
  Stage end;
};

std::uint64_t ping_ticks(RedisClient& client) {
  const std::uint64_t from = ticks_now();
  client.command({"PING"});
  return ticks_now() - from;
}

// When the handler of task `number` started. The stamps are of one clock: the counters of all cores agree.
std::uint64_t await_start(const Stage& stage, std::uint64_t number) {
  const std::int64_t until_ns = base::monotonic_ns() + kPatienceNs;
  // order(bench.answer): acquire; the handler has started, and when
  while (stage.started.load(std::memory_order_acquire) != number + 1) {
    if (base::monotonic_ns() > until_ns) throw Failure(fmt::format("task {} never came to the other host", number));
    nap_us(kLookUs);
  }
  return stage.started_ticks.load(std::memory_order_relaxed);
}

void note_start(Stage& stage) {
  stage.started_ticks.store(ticks_now(), std::memory_order_relaxed);
  // order(bench.answer): release
  stage.started.fetch_add(1, std::memory_order_release);
}

std::uint64_t start_ticks(Seat& seat, Stage& stage, std::uint64_t number) {
  const std::string payload = federation_payload(number, kPayloadBytes);
  engine::TaskSpec spec;
  spec.queue = seat.queue();
  spec.task = seat.task();
  spec.payload = std::as_bytes(std::span(payload));
  const std::uint64_t from = ticks_now();
  const auto status = seat.engine().enqueue(spec, base::monotonic_ns()).status;
  if (status != engine::EnqueueStatus::kOk) throw Failure(fmt::format("enqueue said {}", engine::to_string(status)));
  return await_start(stage, number) - from;
}

// One task at a time by `start`, which says how long it took; everybody asleep before it, and before the PING beside it.
void send_one_by_one(RedisClient& client, const std::function<std::uint64_t(std::uint64_t)>& start,
                     std::span<std::uint64_t> starts, std::span<std::uint64_t> pings) {
  for (std::uint64_t i = 0; i < kWarmUp + starts.size(); ++i) {
    nap_us(kIdleUs);
    const std::uint64_t ping = ping_ticks(client);
    nap_us(kIdleUs);
    const std::uint64_t ticks = start(i);
    if (i < kWarmUp) continue;
    pings[i - kWarmUp] = ping;
    starts[i - kWarmUp] = ticks;
  }
}

void send(const Scene& host, const RedisServer& redis, Stage& stage, std::span<std::uint64_t> starts,
          std::span<std::uint64_t> pings) {
  Seat seat(host, shm::Role::kClient, "producer");
  RedisClient client(redis.socket());
  send_one_by_one(
      client, [&](std::uint64_t i) { return start_ticks(seat, stage, i); }, starts, pings);
  stage.stop.store(1, std::memory_order_relaxed);
}

void send_bare(const RedisServer& redis, BareStage& stage, std::span<std::uint64_t> starts,
               std::span<std::uint64_t> pings) {
  RedisClient client(redis.socket());
  const auto start = [&](std::uint64_t i) {
    const std::uint64_t from = ticks_now();
    stage.to_send.ring();
    return await_start(stage.end, i) - from;
  };
  send_one_by_one(client, start, starts, pings);
}

void pass_on_bare(const RedisServer& redis, BareStage& stage, Stock& stock, std::uint64_t tasks) {
  RedisClient client(redis.socket());
  for (std::uint64_t i = 0; i < tasks; ++i) {
    if (!stage.to_send.sleep_until(static_cast<std::uint32_t>(i + 1))) throw Failure("nobody sent anything");
    client.append_words(stock.xadd(i));
    client.reply();
  }
}

void receive_bare(const RedisServer& redis, BareStage& stage, std::uint64_t tasks) {
  RedisClient client(redis.socket());
  for (std::uint64_t i = 0; i < tasks; ++i) {
    const Reply reply =
        client.command({"XREADGROUP", "GROUP", kGroupKey, "bare", "BLOCK", "10000", "STREAMS", kStreamKey, ">"});
    if (reply->type == REDIS_REPLY_NIL) throw Failure("no entry came");
    stage.to_start.ring();
  }
}

void start_bare(BareStage& stage, std::uint64_t tasks) {
  for (std::uint64_t i = 0; i < tasks; ++i) {
    if (!stage.to_start.sleep_until(static_cast<std::uint32_t>(i + 1))) throw Failure("nothing came");
    note_start(stage.end);
  }
}

// What a run writes, and its medians.
class Times {
 public:
  explicit Times(std::uint64_t tasks)
      : memory_(2 * tasks * sizeof(std::uint64_t)),
        starts(static_cast<std::uint64_t*>(memory_.data()), tasks),
        pings(static_cast<std::uint64_t*>(memory_.data()) + tasks, tasks) {}
  HostToHost result() const { return {percentiles_of_ticks(starts), percentiles_of_ticks(pings)}; }

 private:
  SharedMemory memory_;

 public:
  const std::span<std::uint64_t> starts, pings;
};

}  // namespace

HostToHost host_to_host(const RedisServer& redis, std::uint64_t tasks, bool gateways_spin) {
  RedisClient(redis.socket()).command({"FLUSHALL"});
  shm::SegmentOptions small;
  small.slot_count = 1u << 16;
  const Scene origin(small), target(small);
  Shared<Stage> stage;
  const Times times(tasks);
  const std::uint32_t spin_us = gateways_spin ? kSpinUs : 0;
  const GatewayProcess exporting(origin, redis, {.exports = {kBenchQueue}, .spin_us = spin_us});
  const GatewayProcess importing(target, redis, {.imports = {kBenchQueue}, .spin_us = spin_us});
  run_processes({{kAnyCpu, [&] { send(origin, redis, *stage, times.starts, times.pings); }},
                 {kAnyCpu,
                  [&] {
                    Seat seat(target, shm::Role::kWorker, "worker");
                    serve(seat, stage->stop, [&](const engine::TaskView&) { note_start(*stage); });
                  }}},
                std::chrono::minutes(5));
  return times.result();
}

HostToHost host_to_host_bare(const RedisServer& redis, std::uint64_t tasks, Stock& stock) {
  RedisClient client(redis.socket());
  client.command({"FLUSHALL"});
  client.command({"XGROUP", "CREATE", kStreamKey, kGroupKey, "0", "MKSTREAM"});
  Shared<BareStage> stage;
  const Times times(tasks);
  const std::uint64_t all = kWarmUp + tasks;
  run_processes({{kAnyCpu, [&] { send_bare(redis, *stage, times.starts, times.pings); }},
                 {kAnyCpu, [&] { pass_on_bare(redis, *stage, stock, all); }},
                 {kAnyCpu, [&] { receive_bare(redis, *stage, all); }},
                 {kAnyCpu, [&] { start_bare(*stage, all); }}},
                std::chrono::minutes(5));
  return times.result();
}

}  // namespace stem::bench
