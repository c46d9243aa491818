// What events cost while nobody follows: the looks that one task's life makes, beside a life without them more.
#include <benchmark/benchmark.h>

#include "bench/micro/place.hpp"

namespace stem::micro {
namespace {

void life(Place& place, std::int64_t now_ns) {
  if (place.engine().enqueue(place.spec, now_ns).status != engine::EnqueueStatus::kOk)
    throw std::runtime_error("a task was refused");
  place.run_one(now_ns);
}

void events_life(benchmark::State& state) {
  Place place;
  for (auto _ : state) life(place, base::monotonic_ns());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(events_life);

// The same, and each look once more: published, accepted, received, started, succeeded. What it takes longer is what the
// looks cost; with --benchmark_enable_random_interleaving=true --benchmark_repetitions=N the two are measured in turn.
void events_life_and_its_looks_again(benchmark::State& state) {
  Place place;
  const shm::EventWriter& events = place.engine().events();
  for (auto _ : state) {
    const std::int64_t now_ns = base::monotonic_ns();
    life(place, now_ns);
    bool told = events.stepped(now_ns);
    benchmark::ClobberMemory();  // or the compiler would look once for all
    told = events.followed(now_ns) || told;
    benchmark::ClobberMemory();
    told = events.stepped(now_ns) || told;
    benchmark::ClobberMemory();
    told = events.followed(now_ns) || told;
    benchmark::ClobberMemory();
    told = events.followed(now_ns) || told;
    if (told) [[unlikely]]
      throw std::runtime_error("somebody follows");
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(events_life_and_its_looks_again);

}  // namespace
}  // namespace stem::micro
