// The bare ring: what a queue would reach if it promised nothing.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "bench/failure.hpp"
#include "bench/floor.hpp"

namespace stem::bench {

namespace {

constexpr std::uint64_t kWordsPerMessage = 8;

struct alignas(64) Message {
  std::array<std::uint64_t, kWordsPerMessage> words;
};
static_assert(sizeof(Message) == 64);

// Two lines apart, since the adjacent-line prefetcher of many cores fetches lines in pairs.
struct Indices {
  alignas(128) std::atomic<std::uint64_t> tail{0};  // writer: producer
  alignas(128) std::atomic<std::uint64_t> head{0};  // writer: consumer
};

struct Stage {
  Indices indices;
  alignas(128) HandoffArea handoff;
  alignas(128) StartGate gate;
  alignas(128) Measured result;  // writer: producer the hand-offs, consumer the rate
  std::uint64_t sum = 0;         // writer: consumer
  double producer_loss = 0;
  double consumer_loss = 0;
};

// The whole sum of all words of messages 0..n-1, modulo 2^64.
std::uint64_t expected_sum(std::uint64_t n) {
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < n; ++i) sum += kWordsPerMessage * i + 28;
  return sum;
}

// A waiting loop reads the other side's index over and over, and each read pulls the line back from the
// core that is about to write it. A short pause between reads lets a batch build up.
void wait_politely() noexcept { cpu_relax(); }

void produce(Stage& stage, Message* slots, const RingShape& shape) {
  Indices& indices = stage.indices;
  const std::uint64_t mask = shape.slots - 1;
  std::uint64_t known_head = 0;
  stage.gate.arrive_and_wait(2);
  const CoreLoss loss;
  for (std::uint64_t tail = 0; tail < shape.messages; tail += shape.batch) {
    while (tail + shape.batch - known_head > shape.slots) {
      // order(bench.ring.head): acquire; pairs with the release in consume(); a slot is reused only after it was read
      known_head = indices.head.load(std::memory_order_acquire);
      if (tail + shape.batch - known_head > shape.slots) wait_politely();
    }
    for (std::uint64_t i = tail; i < tail + shape.batch; ++i) {
      Message& message = slots[i & mask];
      for (std::uint64_t word = 0; word < kWordsPerMessage; ++word) message.words[word] = i + word;
    }
    // order(bench.ring.tail): release; pairs with the acquire in consume(); the messages before their index
    indices.tail.store(tail + shape.batch, std::memory_order_release);
  }
  stage.producer_loss = loss.share();
}

void consume(Stage& stage, const Message* slots, const RingShape& shape) {
  Indices& indices = stage.indices;
  const std::uint64_t mask = shape.slots - 1;
  std::uint64_t known_tail = 0;
  std::array<std::uint64_t, kWordsPerMessage> sums{};
  RateMeter meter(shape.messages, 4 * shape.slots);
  stage.gate.arrive_and_wait(2);
  const CoreLoss loss;
  meter.start();
  for (std::uint64_t head = 0; head < shape.messages; head += shape.batch) {
    while (known_tail < head + shape.batch) {
      // order(bench.ring.tail): acquire; pairs with the release in produce()
      known_tail = indices.tail.load(std::memory_order_acquire);
      if (known_tail < head + shape.batch) wait_politely();
    }
    for (std::uint64_t i = head; i < head + shape.batch; ++i) {
      const Message& message = slots[i & mask];
      for (std::uint64_t word = 0; word < kWordsPerMessage; ++word) sums[word] += message.words[word];
    }
    // order(bench.ring.head): release; pairs with the acquire in produce(); every read before the slot is free
    indices.head.store(head + shape.batch, std::memory_order_release);
    meter.count(head + shape.batch);
  }
  meter.finish(shape.messages);
  stage.consumer_loss = loss.share();
  stage.result.value = meter.per_s();
  stage.result.steady = meter.steady_per_s();
  for (const std::uint64_t sum : sums) stage.sum += sum;
}

}  // namespace

Measured spsc_ring_rate(CpuPair cpus, const RingShape& wanted) {
  RingShape shape = wanted;
  shape.messages -= shape.messages % shape.batch;
  Shared<Stage> stage;
  SharedMemory memory(shape.slots * sizeof(Message));
  auto* slots = static_cast<Message*>(memory.data());
  run_pair(
      cpus,
      [&] {
        stage->result.handoff_before_ns = probe_lead(stage->handoff);
        produce(*stage, slots, shape);
        stage->result.handoff_after_ns = probe_lead(stage->handoff);
      },
      [&] {
        probe_follow(stage->handoff);
        consume(*stage, slots, shape);
        probe_follow(stage->handoff);
      });
  if (stage->sum != expected_sum(shape.messages)) {
    throw Failure(fmt::format("the bare ring delivered wrong bytes (sum {:#x})", stage->sum));
  }
  stage->result.core_loss = std::max(stage->producer_loss, stage->consumer_loss);
  return stage->result;
}

}  // namespace stem::bench
