// The parts below the engine: rings, slots, clocks, histograms.
#include <benchmark/benchmark.h>

#include "base/histogram.hpp"
#include "base/random.hpp"
#include "bench/micro/place.hpp"

namespace stem::micro {
namespace {

constexpr std::uint32_t kLog2 = 10;

// A ring in private memory, all zero.
class PrivateRing {
 public:
  PrivateRing() : memory_(static_cast<std::byte*>(std::aligned_alloc(64, shm::ring_bytes(kLog2)))) {
    std::fill_n(memory_, shm::ring_bytes(kLog2), std::byte{0});
  }
  ~PrivateRing() { std::free(memory_); }
  PrivateRing(const PrivateRing&) = delete;
  PrivateRing& operator=(const PrivateRing&) = delete;
  shm::Ring view() const { return {reinterpret_cast<shm::RingHeader*>(memory_), kLog2}; }

 private:
  std::byte* memory_;
};

void ring_push_pop(benchmark::State& state) {
  const PrivateRing memory;
  shm::Ring ring = memory.view();
  std::uint32_t slot = 0;
  for (auto _ : state) {
    if (!ring.push(1, slot++ & 0xffff)) throw std::runtime_error("the ring is full");
    const std::uint64_t head = ring.head();
    shm::HintCell cell;
    if (!ring.peek(head, cell)) throw std::runtime_error("the ring is empty");
    ring.advance_head(head, head + 1);
  }
}
BENCHMARK(ring_push_pop);

void ring_push_many_32(benchmark::State& state) {
  const PrivateRing memory;
  shm::Ring ring = memory.view();
  shm::HintCell hints[32];
  for (std::uint32_t i = 0; i < 32; ++i) hints[i] = shm::HintCell(0, 1, i);
  for (auto _ : state) {
    if (ring.push_many(hints, 32) != 32) throw std::runtime_error("the ring is full");
    const std::uint64_t head = ring.head();
    ring.advance_head(head, head + 32);
  }
  state.SetItemsProcessed(state.iterations() * 32);
}
BENCHMARK(ring_push_many_32);

void ring_look_at_nothing(benchmark::State& state) {
  const PrivateRing memory;
  const shm::Ring ring = memory.view();
  for (auto _ : state) benchmark::DoNotOptimize(ring.empty());
}
BENCHMARK(ring_look_at_nothing);

// Taken, turned free again and offered: the whole round of a slot.
void take_slot_and_free(benchmark::State& state) {
  Place place;
  shm::Participant& self = place.participant();
  for (auto _ : state) {
    std::uint32_t slot = 0;
    shm::ControlWord word;
    if (!self.take_slot(slot, word)) throw std::runtime_error("no slot");
    if (!place.segment().descriptor(slot).control.change(word, word.with(shm::State::kFree, 0)))
      throw std::runtime_error("not ours");
    self.offer_free(slot);
  }
}
BENCHMARK(take_slot_and_free);

void take_slot_and_return(benchmark::State& state) {
  Place place;
  for (auto _ : state) {
    std::uint32_t slot = 0;
    shm::ControlWord word;
    if (!place.participant().take_slot(slot, word)) throw std::runtime_error("no slot");
    place.participant().return_slot(slot, word);
  }
}
BENCHMARK(take_slot_and_return);

void monotonic_ns(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(base::monotonic_ns());
}
BENCHMARK(monotonic_ns);

void histogram_bucket(benchmark::State& state) {
  base::Random random(1);
  std::int64_t values[64];
  for (auto& value : values) value = static_cast<std::int64_t>(random.next() >> (random.next() % 50 + 14));
  std::uint32_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(base::histogram_bucket(values[i++ % 64]));
}
BENCHMARK(histogram_bucket);

void record_duration(benchmark::State& state) {
  Place place;
  std::int64_t ns = 1;
  for (auto _ : state) place.participant().record_duration(place.spec.task, ns++ % 10'000);
}
BENCHMARK(record_duration);

void heartbeat(benchmark::State& state) {
  Place place;
  for (auto _ : state) place.participant().beat();
}
BENCHMARK(heartbeat);

}  // namespace
}  // namespace stem::micro
