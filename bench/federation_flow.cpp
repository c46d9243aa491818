// Export and import: many tasks through a gateway, and the same commands from a bare hiredis client.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "bench/failure.hpp"
#include "bench/federation.hpp"
#include "engine/query.hpp"

namespace stem::bench {

namespace {

constexpr std::uint64_t kStockEntries = 1000;
constexpr std::uint64_t kAddsInFlight = 1000;  // twice that many, in two halves: Redis always has some to do
constexpr const char* kReadEntries = "100";
constexpr std::chrono::minutes kDeadline{5};

shm::SegmentOptions segment_for(std::uint64_t tasks) {
  shm::SegmentOptions options;
  options.slot_count =
      static_cast<std::uint32_t>(std::clamp<std::uint64_t>(std::bit_ceil(tasks + tasks / 4), 1u << 16, shm::kMaxSlots));
  return options;
}

void empty(const RedisServer& redis) { RedisClient(redis.socket()).command({"FLUSHALL"}); }

void fill(const Scene& host, const FlowShape& shape) {
  run_processes({{kAnyCpu, [&] {
                    Seat seat(host, shm::Role::kClient, "producer");
                    enqueue_numbers(seat, seat.queue(), 0, shape.tasks, shape.payload_bytes);
                  }}});
}

// In a process of its own, which `body` measures.
Flow in_process(const std::function<Flow()>& body) {
  Shared<Flow> flow;
  run_processes({{kAnyCpu, [&] { *flow = body(); }}}, kDeadline);
  return *flow;
}

// Two halves in flight, so that the server has work while the client reads.
void add_all(RedisClient& client, Stock& stock, std::uint64_t tasks, const std::function<void(std::uint64_t)>& added) {
  std::uint64_t sent = 0, answered = 0;
  while (answered < tasks) {
    while (sent < tasks && sent - answered < 2 * kAddsInFlight) client.append_words(stock.xadd(sent++));
    for (const std::uint64_t until = std::min(answered + kAddsInFlight, tasks); answered < until; ++answered)
      client.reply();
    added(answered);
  }
}

void fill_stream(const RedisServer& redis, Stock& stock, std::uint64_t tasks) {
  RedisClient client(redis.socket());
  client.command({"FLUSHALL"});
  client.command({"XGROUP", "CREATE", kStreamKey, kGroupKey, "0", "MKSTREAM"});
  add_all(client, stock, tasks, [](std::uint64_t) {});
}

std::uint64_t stream_length(RedisClient& client) {
  return static_cast<std::uint64_t>(client.command({"XLEN", kStreamKey})->integer);
}

const redisReply* entries_of(const Reply& streams) {
  if (streams->type != REDIS_REPLY_ARRAY || streams->elements == 0) return nullptr;
  return streams->element[0]->element[1];
}

// One round trip: what the last read gave is acknowledged and deleted, and more is asked for.
void append_acknowledgements(RedisClient& client, const redisReply& entries) {
  std::vector<std::string_view> acknowledge{"XACK", kStreamKey, kGroupKey};
  std::vector<std::string_view> remove{"XDEL", kStreamKey};
  for (std::size_t i = 0; i < entries.elements; ++i) {
    acknowledge.push_back(text_of(*entries.element[i]->element[0]));
    remove.push_back(text_of(*entries.element[i]->element[0]));
  }
  client.append_words(acknowledge);
  client.append_words(remove);
}

void take_all(RedisClient& client, std::uint64_t tasks, const std::function<void(std::uint64_t)>& taken) {
  Reply held(nullptr, freeReplyObject);
  for (std::uint64_t done = 0; done < tasks;) {
    const redisReply* entries = held ? entries_of(held) : nullptr;
    if (entries != nullptr) append_acknowledgements(client, *entries);
    client.append({"XREADGROUP", "GROUP", kGroupKey, "bare", "COUNT", kReadEntries, "STREAMS", kStreamKey, ">"});
    for (int i = 0; entries != nullptr && i < 2; ++i) {
      if (client.reply()->integer != static_cast<long long>(entries->elements))
        throw Failure("redis: a stream entry was gone before it was acknowledged");
    }
    if (entries != nullptr) taken(done += entries->elements);
    held = client.reply();
    if (entries_of(held) == nullptr && done < tasks) throw Failure("redis: an entry of the stream is missing");
  }
}

}  // namespace

Stock::Stock(const RedisServer& redis, const FlowShape& shape) {
  FlowShape small = shape;
  small.tasks = kStockEntries;
  (void)export_by_gateway(redis, small);
  RedisClient client(redis.socket());
  const Reply range = client.command({"XRANGE", kStreamKey, "-", "+"});
  for (std::size_t i = 0; i < range->elements; ++i) {
    const redisReply& fields = *range->element[i]->element[1];
    auto& entry = entries_.emplace_back(std::vector<std::string>{"XADD", kStreamKey, "*"});
    for (std::size_t f = 0; f < fields.elements; ++f) {
      if (f % 2 == 0 && text_of(*fields.element[f]) == "id") id_at_ = entry.size() + 1;
      entry.emplace_back(text_of(*fields.element[f]));
    }
  }
  if (entries_.size() != kStockEntries || id_at_ == 0)
    throw Failure("the gateway's entries are not what they should be");
}

// Another id for each, as long as the gateway's: importers drop a task that they have.
const std::vector<std::string_view>& Stock::xadd(std::uint64_t number) {
  const std::vector<std::string>& entry = entries_[number % entries_.size()];
  words_.assign(entry.begin(), entry.end());
  const std::string tail = fmt::format("{:012x}", number);
  id_ = entry[id_at_];
  id_.replace(id_.size() - tail.size(), tail.size(), tail);
  words_[id_at_] = id_;
  return words_;
}

// From the segment's count of what Redis has confirmed.
Flow export_by_gateway(const RedisServer& redis, const FlowShape& shape) {
  empty(redis);
  const Scene host(segment_for(shape.tasks));
  fill(host, shape);
  const GatewayProcess gateway(host, redis, {{kBenchQueue}, {}});
  const Flow flow = in_process([&] {
    Seat seat(host, shm::Role::kClient, "watcher");
    const engine::Query query(seat.engine());
    FlowMeter meter(shape.tasks, gateway.pid(), redis.pid());
    while (!meter.count(query.counters(seat.queue())[shm::Counter::kExported])) nap_us(500);
    return meter.flow();
  });
  RedisClient client(redis.socket());
  if (stream_length(client) != shape.tasks) throw Failure("the stream has not as many entries as tasks were exported");
  return flow;
}

Flow export_bare(const RedisServer& redis, const FlowShape& shape, Stock& stock) {
  empty(redis);
  return in_process([&] {
    RedisClient client(redis.socket());
    FlowMeter meter(shape.tasks, getpid(), redis.pid());
    add_all(client, stock, shape.tasks, [&](std::uint64_t added) { meter.count(added); });
    return meter.flow();
  });
}

// From the length of the stream: an entry is deleted when its task has run and Redis has heard so.
Flow import_by_gateway(const RedisServer& redis, const FlowShape& shape, Stock& stock) {
  fill_stream(redis, stock, shape.tasks);
  const Scene host(segment_for(1u << 16));
  Shared<std::atomic<std::uint32_t>> stop;
  Shared<Flow> flow;
  Shared<std::uint64_t> ran;
  const auto work = [&] {
    Seat seat(host, shm::Role::kWorker, "worker");
    serve(seat, *stop, [&](const engine::TaskView&) { ++*ran; });
  };
  const GatewayProcess gateway(host, redis, {{}, {kBenchQueue}});
  const auto watch = [&] {
    RedisClient client(redis.socket());
    FlowMeter meter(shape.tasks, gateway.pid(), redis.pid());
    while (!meter.count(shape.tasks - stream_length(client))) nap_us(1000);
    *flow = meter.flow();
    stop->store(1, std::memory_order_relaxed);
  };
  run_processes({{kAnyCpu, work}, {kAnyCpu, watch}}, kDeadline);
  if (*ran != shape.tasks) throw Failure(fmt::format("{} tasks ran, {} were sent", *ran, shape.tasks));
  return *flow;
}

Flow import_bare(const RedisServer& redis, const FlowShape& shape, Stock& stock) {
  fill_stream(redis, stock, shape.tasks);
  return in_process([&] {
    RedisClient client(redis.socket());
    FlowMeter meter(shape.tasks, getpid(), redis.pid());
    take_all(client, shape.tasks, [&](std::uint64_t taken) { meter.count(taken); });
    if (stream_length(client) != 0) throw Failure("redis: entries are left in the stream");
    return meter.flow();
  });
}

}  // namespace stem::bench
