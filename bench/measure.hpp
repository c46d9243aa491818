// Numbers out of samples: the time stamp counter, percentiles of one repetition, the spread over
// repetitions, and ratios of a subject to the floor measured beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#if defined(__x86_64__)
#include <x86intrin.h>
#else
#include <ctime>
#endif

namespace stem::bench {

// ---- Time -------------------------------------------------------------------------------------

// The cheapest clock there is. Both processes of a pair may compare ticks: the counters of all cores
// agree (`tsc_offset` in floor.hpp bounds the error). Elsewhere than x86-64 a tick is a nanosecond.
inline std::uint64_t ticks_now() noexcept {
#if defined(__x86_64__)
  return __rdtsc();
#else
  timespec ts{};
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<std::uint64_t>(ts.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(ts.tv_nsec);
#endif
}

// Nanoseconds per tick, measured once per process against CLOCK_MONOTONIC (takes 20 ms the first
// time; children of fork inherit it, so call it before forking).
double ns_per_tick();

std::uint64_t ticks_of_ns(double ns);

// Tells the core that this is a waiting loop. On Intel since Skylake one `pause` is about 140 cycles,
// longer than a hand-off between neighbours: use it where the wait is expected to be long, never in a
// loop whose latency is being measured.
inline void cpu_relax() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Burns time on this core without a system call, so that the core does not go to sleep.
void spin_for_ns(double ns);

// How much of its time a process did not get the core it is pinned to, because something else ran
// there. A pair of spinning processes of which one has lost the core measures that, not the hardware.
class CoreLoss {
 public:
  CoreLoss() noexcept;            // from here
  double share() const noexcept;  // to here; 0 = none, 1 = all

 private:
  std::int64_t wall_ns_ = 0;
  std::int64_t cpu_ns_ = 0;
};

// More than this, and a measurement counts as disturbed: well above timer ticks, well below a time slice
// in a measurement of tens of milliseconds.
inline constexpr double kDisturbedLoss = 0.03;

// Rates: over the whole time, and the *steady* rate, the median over stretches of equal work. On a quiet
// machine the two agree. On a busy one the whole includes every time slice that another program got on
// either core, while a pair makes progress only when both run, so that most stretches are clean.
class RateMeter {
 public:
  // `expected` is the total that will be counted. A stretch should be several times what the queue in
  // between can hold: else it may show how fast a backlog drains while the producer was away.
  explicit RateMeter(std::uint64_t expected, std::uint64_t stretch = 32'768);

  void start() noexcept { start_ticks_ = last_ticks_ = ticks_now(); }
  // `done` is the total so far. One comparison except at the end of a stretch.
  void count(std::uint64_t done) noexcept {
    if (done >= next_) [[unlikely]]
      mark(done);
  }
  // The last task was counted at this moment.
  void finish(std::uint64_t done) noexcept;

  double per_s() const;
  double steady_per_s() const;

 private:
  void mark(std::uint64_t done) noexcept;

  std::uint64_t stretch_ = 1;
  std::uint64_t next_ = 1;
  std::uint64_t last_done_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t start_ticks_ = 0;
  std::uint64_t last_ticks_ = 0;
  std::uint64_t end_ticks_ = 0;
  std::vector<double> per_tick_;  // rate of each stretch; reserved beforehand
};

// ---- One repetition ---------------------------------------------------------------------------

struct Percentiles {
  double p50_ns = 0;
  double p90_ns = 0;
  double p99_ns = 0;
  double p999_ns = 0;
  double max_ns = 0;
  std::uint64_t count = 0;
};

// Nearest-rank percentiles of durations in ticks. Reorders the samples. Empty gives all zero.
Percentiles percentiles_of_ticks(std::span<std::uint64_t> ticks);

// The same for durations already in nanoseconds.
Percentiles percentiles_of_ns(std::span<std::uint64_t> ns);

// ---- Over repetitions -------------------------------------------------------------------------

struct Spread {
  double median = 0;
  double min = 0;
  double max = 0;
  std::size_t count = 0;
};

// The median of an even number of values is the mean of the middle two. Empty gives all zero.
Spread spread_of(std::vector<double> values);

// The percentiles of each repetition, each summarised over repetitions.
struct PercentileSpread {
  Spread p50, p90, p99, p999, max;
};
PercentileSpread spread_of(std::span<const Percentiles> repetitions);

// ---- Where the two virtual CPUs are ------------------------------------------------------------

// A hypervisor moves virtual CPUs between hyper-threads of one core, cores that share a cache, and
// distant cores, within seconds, and every shared-memory figure changes 4 to 10 times with it. The
// hand-off of a 64-byte message tells which it is.
enum class Placement { kSmt, kL3, kFar, kMoved };

inline constexpr double kSmtBelowNs = 45;   // seen: 30-42 between hyper-threads, 55-65 between cores
inline constexpr double kFarAboveNs = 125;  // seen: 55-110 within one L3, 130-245 across dies or sockets

Placement judge_placement(double handoff_ns) noexcept;
std::string_view to_string(Placement placement) noexcept;

// One measured value with the hand-off right before and right after it, in the same two processes
// where that is possible.
struct Measured {
  double value = 0;
  double steady = 0;  // for rates: RateMeter::steady_per_s; 0 = not measured
  double handoff_before_ns = 0;
  double handoff_after_ns = 0;
  double core_loss = 0;  // the larger of the two processes'

  bool disturbed() const noexcept { return core_loss > kDisturbedLoss; }
  double handoff_ns() const noexcept { return (handoff_before_ns + handoff_after_ns) / 2; }
  // kMoved when the two probes disagree clearly: the value then belongs to no placement.
  Placement placement() const noexcept;
};

// ---- Subject against floor ---------------------------------------------------------------------

struct RatioSample {
  double floor = 0;
  double subject = 0;
  double floor_steady = 0;
  double subject_steady = 0;
  double handoff_ns = 0;
  Placement placement = Placement::kMoved;
  bool disturbed = false;
  double ratio() const noexcept { return floor > 0 ? subject / floor : 0; }
  double steady_ratio() const noexcept { return floor_steady > 0 ? subject_steady / floor_steady : 0; }
};

// Pairs of floor and subject taken next to each other. The figure to quote is the median of the pairs'
// ratios: a ratio of medians would mix placements.
class RatioSeries {
 public:
  // A pair whose two halves saw different placements is kept, labelled kMoved.
  void add(const Measured& floor, const Measured& subject);

  // The pairs taken in one placement.
  RatioSeries only(Placement placement) const;

  std::span<const RatioSample> samples() const noexcept { return samples_; }
  Spread ratio() const;
  Spread steady_ratio() const;  // all zero when a steady value is missing
  Spread floor() const;
  Spread subject() const;
  std::size_t disturbed_count() const noexcept;

 private:
  std::vector<RatioSample> samples_;
};

// Measures again while other programs had the core, at most `tries` times; the last is kept as it is.
Measured undisturbed(const std::function<Measured()>& measure, int tries = 5);

// Measures floor and subject in turn, `runs` times; the order inside a pair is swapped every time, so
// that a machine which drifts one way favours neither. A disturbed half is measured again.
RatioSeries alternate(int runs, const std::function<Measured()>& floor, const std::function<Measured()>& subject);

}  // namespace stem::bench
