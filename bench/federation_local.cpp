// Local work beside a gateway: the full life cycle of tasks that never leave, while another queue is exported as fast
// as it goes, and while Redis does not answer.
#include <sys/wait.h>

#include <csignal>

#include "bench/failure.hpp"
#include "bench/federation.hpp"
#include "bench/life_cycle.hpp"
#include "engine/query.hpp"
#include "shm/names.hpp"

namespace stem::bench {

namespace {

constexpr const char* kExportedQueue = "exported";
constexpr std::uint64_t kAhead = 8192;  // tasks of the exported queue that wait, at most
constexpr std::uint64_t kAtOnce = 1024;
constexpr std::uint32_t kPrefetch = 4;  // the worker here could run them, too: that many are left to it

struct Beside {
  std::uint64_t exported = 0;
  double seconds = 0;
};

// Stops a server while it lives; continued in the end, or it could not be stopped for good.
class Stopped {
 public:
  explicit Stopped(pid_t pid) : pid_(pid) { kill(pid_, SIGSTOP); }
  ~Stopped() { kill(pid_, SIGCONT); }
  Stopped(const Stopped&) = delete;
  Stopped& operator=(const Stopped&) = delete;

 private:
  pid_t pid_;
};

// Always something to export, until the local tasks are done.
void keep_busy(const Scene& host, std::uint64_t local_tasks, Beside& beside) {
  Seat seat(host, shm::Role::kClient, "other producer");
  const std::uint32_t queue = shm::intern_queue(seat.segment(), kExportedQueue).value();
  const engine::Query query(seat.engine());
  const auto exported = [&] { return query.counters(queue)[shm::Counter::kExported]; };
  const std::uint64_t from = exported();
  const std::uint64_t from_ticks = ticks_now();
  std::uint64_t sent = query.counters(queue)[shm::Counter::kEnqueued];
  while (query.counters(seat.queue())[shm::Counter::kSucceeded] < local_tasks) {
    if (sent < exported() + kAhead) {
      enqueue_numbers(seat, queue, sent, sent + kAtOnce, 64);
      sent += kAtOnce;
    }
    nap_us(2000);
  }
  beside.exported = exported() - from;
  beside.seconds = static_cast<double>(ticks_now() - from_ticks) * ns_per_tick() * 1e-9;
}

// What the processors lose to any program that keeps a Redis as busy: a bare client in the gateway's place.
void keep_busy_bare(const Scene& host, const RedisServer& redis, Stock& stock, std::uint64_t local_tasks) {
  Seat seat(host, shm::Role::kClient, "watcher");
  RedisClient client(redis.socket());
  const engine::Query query(seat.engine());
  for (std::uint64_t sent = 0; query.counters(seat.queue())[shm::Counter::kSucceeded] < local_tasks;) {
    for (std::uint64_t i = 0; i < kAtOnce; ++i) client.append_words(stock.xadd(sent++));
    for (std::uint64_t i = 0; i < kAtOnce; ++i) client.reply();
  }
}

}  // namespace

LocalRate local_rate(CpuPair cpus, const RedisServer& redis, std::uint64_t tasks, Neighbour neighbour, Stock& stock) {
  RedisClient(redis.socket()).command({"FLUSHALL"});
  LifeCycle life;
  life.tasks = tasks;
  life.batch = kMostBatch;
  shm::SegmentOptions options = segment_for(life);
  options.slot_count *= 2;  // the exported queue's, too
  const Scene host(options);
  LocalRate result;
  if (neighbour == Neighbour::kNone) {
    result.rate = life_cycle_rate(cpus, life, host);
    return result;
  }
  if (neighbour == Neighbour::kBareClient) {
    result.rate = life_cycle_rate(cpus, life, host, {{kAnyCpu, [&] { keep_busy_bare(host, redis, stock, tasks); }}});
    return result;
  }
  GatewayProcess::Options options_of_gateway{.exports = {kExportedQueue}, .prefetch = kPrefetch};
  if (neighbour == Neighbour::kBusyEqual) options_of_gateway.niceness = 0;
  const GatewayProcess gateway(host, redis, options_of_gateway);
  std::unique_ptr<Stopped> stopped;
  if (neighbour == Neighbour::kRedisStopped) stopped = std::make_unique<Stopped>(redis.pid());
  Shared<Beside> beside;
  const double before_ns = cpu_ns_of(gateway.pid());
  result.rate = life_cycle_rate(cpus, life, host, {{kAnyCpu, [&] { keep_busy(host, tasks, *beside); }}});
  result.exported_per_s = static_cast<double>(beside->exported) / beside->seconds;
  result.gateway_cpu_share = (cpu_ns_of(gateway.pid()) - before_ns) * 1e-9 / beside->seconds;
  if (neighbour != Neighbour::kRedisStopped && beside->exported == 0)
    throw Failure("the gateway exported nothing meanwhile");
  if (neighbour == Neighbour::kRedisStopped && beside->exported > kAhead)
    throw Failure("the gateway exported while Redis was stopped");
  return result;
}

}  // namespace stem::bench
