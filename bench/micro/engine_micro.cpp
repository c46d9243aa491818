// What each operation of the engine costs when nobody else is there: the instructions alone.
#include <benchmark/benchmark.h>

#include <vector>

#include "bench/micro/place.hpp"
#include "engine/extension.hpp"

namespace stem::micro {
namespace {

using engine::EnqueueStatus;

constexpr int kGroup = 1024;  // tasks between two pauses of the clock

void check(bool good) {
  if (!good) throw std::runtime_error("an operation was refused");
}

void drain(Place& place, int tasks) {
  for (int i = 0; i < tasks; ++i) place.run_one(base::monotonic_ns());
}

void enqueue_group(benchmark::State& state, Place& place) {
  int queued = 0;
  for (auto _ : state) {
    check(place.engine().enqueue(place.spec, base::monotonic_ns()).status == EnqueueStatus::kOk);
    if (++queued < kGroup) continue;
    state.PauseTiming();
    drain(place, queued);
    queued = 0;
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations());
}

void enqueue_inline(benchmark::State& state) {
  Place place;
  enqueue_group(state, place);
}
BENCHMARK(enqueue_inline);

void enqueue_block_1kib(benchmark::State& state) {
  Place place;
  const std::vector<std::byte> payload(1024);
  place.spec.payload = payload;
  enqueue_group(state, place);
}
BENCHMARK(enqueue_block_1kib);

void enqueue_many_16(benchmark::State& state) {
  Place place;
  const std::vector<engine::TaskSpec> specs(16, place.spec);
  int queued = 0;
  for (auto _ : state) {
    std::size_t done = 0;
    check(place.engine().enqueue_many(specs.data(), specs.size(), nullptr, done, base::monotonic_ns()) ==
          EnqueueStatus::kOk);
    queued += static_cast<int>(done);
    if (queued < kGroup) continue;
    state.PauseTiming();
    engine::Lease leases[64];
    engine::TaskView view;
    while (queued > 0) {
      const std::uint32_t n = place.engine().claim(place.spec.queue, leases, 64, base::monotonic_ns());
      for (std::uint32_t i = 0; i < n; ++i) {
        check(place.engine().view(leases[i], view));
        check(place.engine().begin(leases[i], view, 0) == engine::Begin::kStart);
        check(place.engine().succeed(leases[i], view, {}, 0) == engine::Settled::kDone);
      }
      queued -= static_cast<int>(n);
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * 16);
}
BENCHMARK(enqueue_many_16);

void claim_and_succeed(benchmark::State& state) {
  Place place;
  int queued = 0;
  for (auto _ : state) {
    if (queued == 0) {
      state.PauseTiming();
      for (; queued < kGroup; ++queued)
        check(place.engine().enqueue(place.spec, base::monotonic_ns()).status == EnqueueStatus::kOk);
      state.ResumeTiming();
    }
    place.run_one(base::monotonic_ns());
    --queued;
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(claim_and_succeed);

void claim_nothing(benchmark::State& state) {
  Place place;
  check(place.engine().enqueue(place.spec, base::monotonic_ns()).status == EnqueueStatus::kOk);
  drain(place, 1);  // the lane has a ring and a mark
  engine::Lease lease;
  for (auto _ : state) benchmark::DoNotOptimize(place.engine().claim(place.spec.queue, &lease, 1, 0));
}
BENCHMARK(claim_nothing);

void maybe_ready(benchmark::State& state) {
  Place place;
  check(place.engine().enqueue(place.spec, base::monotonic_ns()).status == EnqueueStatus::kOk);
  drain(place, 1);
  for (auto _ : state) benchmark::DoNotOptimize(place.engine().maybe_ready(place.spec.queue));
}
BENCHMARK(maybe_ready);

void full_cycle(benchmark::State& state) {
  Place place;
  for (auto _ : state) {
    const std::int64_t now_ns = base::monotonic_ns();
    check(place.engine().enqueue(place.spec, now_ns).status == EnqueueStatus::kOk);
    place.run_one(now_ns);
    place.participant().record_duration(place.spec.task, 1);
    place.participant().beat();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(full_cycle);

// By 64 as stem-bench throughput does: runs of tasks whose handlers do nothing, acknowledged together.
void full_cycle_many_64(benchmark::State& state) {
  Place place;
  const std::vector<engine::TaskSpec> specs(64, place.spec);
  engine::Lease leases[64];
  engine::TaskView view;
  for (auto _ : state) {
    const std::int64_t now_ns = base::monotonic_ns();
    std::size_t done = 0;
    check(place.engine().enqueue_many(specs.data(), specs.size(), nullptr, done, now_ns) == EnqueueStatus::kOk);
    for (std::uint32_t n = 0; (n = place.engine().claim(place.spec.queue, leases, 64, now_ns)) != 0;) {
      for (std::uint32_t i = 0; i < n; ++i) {
        check(place.engine().view(leases[i], view));
        check(place.engine().begin(leases[i], view, now_ns) == engine::Begin::kStart);
        check(place.engine().succeed_later(leases[i], view, now_ns) == engine::Settled::kDone);
      }
      check(place.engine().commit_acks() == engine::Settled::kDone);
    }
  }
  state.SetItemsProcessed(state.iterations() * 64);
}
BENCHMARK(full_cycle_many_64);

// Given back and claimed again: two grants of the same task.
void regrant(benchmark::State& state) {
  Place place;
  engine::Lease lease;
  int grants = 0;
  for (auto _ : state) {
    if (grants++ % 1024 == 0) {  // long before the task has been granted too often
      state.PauseTiming();
      if (grants > 1) drain(place, 1);
      check(place.engine().enqueue(place.spec, base::monotonic_ns()).status == EnqueueStatus::kOk);
      state.ResumeTiming();
    }
    check(place.engine().claim(place.spec.queue, &lease, 1, 0) == 1);
    check(place.engine().release(lease, 0) == engine::Settled::kDone);
  }
}
BENCHMARK(regrant);

void snooze(benchmark::State& state) {
  Place place;
  engine::TaskView view;
  engine::Lease lease;
  int snoozed = 0;
  for (auto _ : state) {
    if (snoozed++ % 1024 == 0) {
      state.PauseTiming();
      if (snoozed > 1) drain(place, 1);
      check(place.engine().enqueue(place.spec, base::monotonic_ns()).status == EnqueueStatus::kOk);
      state.ResumeTiming();
    }
    check(place.engine().claim(place.spec.queue, &lease, 1, 0) == 1 && place.engine().view(lease, view));
    check(place.engine().snooze(lease, view, 0, 0) == engine::Settled::kDone);
  }
}
BENCHMARK(snooze);

// A unique task from enqueue to its end.
void unique_cycle(benchmark::State& state) {
  Place place;
  engine::TaskExtras extras;
  place.spec.extras = &extras;
  std::uint64_t key = 0;
  for (auto _ : state) {
    extras.unique_key = base::monotonic_ns() + ++key;
    const std::int64_t now_ns = base::monotonic_ns();
    check(place.engine().enqueue(place.spec, now_ns).status == EnqueueStatus::kOk);
    place.run_one(now_ns);
  }
}
BENCHMARK(unique_cycle);

void unique_refused(benchmark::State& state) {
  Place place;
  engine::TaskExtras extras;
  extras.unique_key = 77;
  place.spec.extras = &extras;
  check(place.engine().enqueue(place.spec, base::monotonic_ns()).status == EnqueueStatus::kOk);
  for (auto _ : state)
    check(place.engine().enqueue(place.spec, base::monotonic_ns()).status == EnqueueStatus::kDuplicate);
}
BENCHMARK(unique_refused);

}  // namespace
}  // namespace stem::micro
