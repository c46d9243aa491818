// Waking a parked process, and the price of reading a clock.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>

#include "bench/floor.hpp"

namespace stem::bench {

namespace {

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

long futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) noexcept {
  return syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}

struct WakeStage {
  alignas(64) std::atomic<std::uint32_t> bell{0};         // writer: waker; the futex word
  alignas(64) std::atomic<std::uint32_t> parking{0};      // writer: sleeper; number of the wake it waits for
  alignas(64) std::atomic<std::uint64_t> woken_ticks{0};  // writer: sleeper, 0 = not yet
};

void sleep_through(WakeStage& stage, std::uint64_t wakes) {
  for (std::uint32_t i = 0; i < wakes; ++i) {
    // order(bench.wake): release; pairs with the acquire in wake_often(); asleep is announced after waking is stamped
    stage.parking.store(i + 1, std::memory_order_release);
    // order(bench.wake): acquire; the bell value decides, a wake before the wait is not lost
    while (stage.bell.load(std::memory_order_acquire) == i) futex(stage.bell, FUTEX_WAIT, i);
    stage.woken_ticks.store(ticks_now(), std::memory_order_release);
  }
}

// Stores the two durations of each wake that found the sleeper in the kernel; returns how many did.
std::uint64_t wake_often(WakeStage& stage, double idle_ns, std::uint64_t wakes, std::uint64_t* one_way,
                         std::uint64_t* call) {
  std::uint64_t kept = 0;
  for (std::uint32_t i = 0; i < wakes; ++i) {
    while (stage.parking.load(std::memory_order_acquire) != i + 1) cpu_relax();
    spin_for_ns(idle_ns);
    stage.woken_ticks.store(0, std::memory_order_relaxed);
    const std::uint64_t start = ticks_now();
    stage.bell.store(i + 1, std::memory_order_release);
    const long found = futex(stage.bell, FUTEX_WAKE, 1);
    const std::uint64_t returned = ticks_now();
    std::uint64_t woken = 0;
    while ((woken = stage.woken_ticks.load(std::memory_order_acquire)) == 0) cpu_relax();
    if (found != 1) continue;  // it was not asleep yet: not what we measure
    one_way[kept] = woken > start ? woken - start : 0;
    call[kept] = returned - start;
    ++kept;
  }
  return kept;
}

template <class Read>
double cost_ns(Read read) {
  constexpr int kReads = 200'000;
  double best_ns = 1e9;
  for (int attempt = 0; attempt < 5; ++attempt) {  // the fastest of five: an interrupt only ever adds
    const std::uint64_t start = ticks_now();
    for (int i = 0; i < kReads; ++i) read();
    const double ns = static_cast<double>(ticks_now() - start) * ns_per_tick() / kReads;
    if (ns < best_ns) best_ns = ns;
  }
  return best_ns;
}

void read_kernel_clock(clockid_t id) noexcept {
  timespec ts;
  clock_gettime(id, &ts);
  asm volatile("" : : "r"(ts.tv_nsec));
}

}  // namespace

FutexWake futex_wake_ns(CpuPair cpus, double idle_ns, std::uint64_t wakes) {
  Shared<WakeStage> stage;
  Shared<std::uint64_t> kept;
  SharedMemory one_way_memory(wakes * sizeof(std::uint64_t));
  SharedMemory call_memory(wakes * sizeof(std::uint64_t));
  auto* one_way = static_cast<std::uint64_t*>(one_way_memory.data());
  auto* call = static_cast<std::uint64_t*>(call_memory.data());
  run_pair(
      cpus, [&] { *kept = wake_often(*stage, idle_ns, wakes, one_way, call); }, [&] { sleep_through(*stage, wakes); });
  return {percentiles_of_ticks({one_way, *kept}), percentiles_of_ticks({call, *kept})};
}

ClockCost clock_cost_ns(CpuPair cpus) {
  Shared<ClockCost> cost;
  run_processes({{cpus.first, [&] {
                    cost->tsc_ns = cost_ns([] {
                      const std::uint64_t ticks = ticks_now();
                      asm volatile("" : : "r"(ticks));
                    });
#if defined(__x86_64__)
                    cost->tscp_ns = cost_ns([] {
                      unsigned cpu = 0;
                      const std::uint64_t ticks = __rdtscp(&cpu);
                      asm volatile("" : : "r"(ticks));
                    });
#endif
                    cost->monotonic_ns = cost_ns([] { read_kernel_clock(CLOCK_MONOTONIC); });
                    cost->monotonic_coarse_ns = cost_ns([] { read_kernel_clock(CLOCK_MONOTONIC_COARSE); });
                  }}});
  return *cost;
}

}  // namespace stem::bench
