#include "bench/measure.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>
#include <iterator>

#include "bench/failure.hpp"

namespace stem::bench {

void fail_with_errno(const std::string& what) { throw Failure(what + ": " + std::strerror(errno)); }

namespace {

std::int64_t kernel_ns(clockid_t clock = CLOCK_MONOTONIC) noexcept {
  timespec ts{};
  clock_gettime(clock, &ts);
  return static_cast<std::int64_t>(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec;
}

// A pair of readings of both clocks as close together as five tries make it: an interrupt between the
// two would falsify the factor.
struct Reading {
  std::int64_t ns;
  std::uint64_t ticks;
};

Reading read_both() noexcept {
  Reading best{};
  std::uint64_t best_gap = ~std::uint64_t{0};
  for (int i = 0; i < 5; ++i) {
    const std::uint64_t before = ticks_now();
    const std::int64_t ns = kernel_ns();
    const std::uint64_t after = ticks_now();
    if (after - before >= best_gap) continue;
    best_gap = after - before;
    best = {ns, before + (after - before) / 2};
  }
  return best;
}

double measure_ns_per_tick() noexcept {
  constexpr std::int64_t kWindowNs = 20'000'000;
  const Reading start = read_both();
  while (kernel_ns() - start.ns < kWindowNs) cpu_relax();
  const Reading end = read_both();
  return static_cast<double>(end.ns - start.ns) / static_cast<double>(end.ticks - start.ticks);
}

Percentiles percentiles_scaled(std::span<std::uint64_t> samples, double scale) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double fraction) {
    const auto rank = static_cast<std::size_t>(std::ceil(fraction * static_cast<double>(samples.size())));
    return static_cast<double>(samples[rank == 0 ? 0 : rank - 1]) * scale;
  };
  return {at(0.5), at(0.9), at(0.99), at(0.999), at(1.0), samples.size()};
}

}  // namespace

double ns_per_tick() {
  static const double factor = measure_ns_per_tick();
  return factor;
}

std::uint64_t ticks_of_ns(double ns) { return static_cast<std::uint64_t>(ns / ns_per_tick()); }

void spin_for_ns(double ns) {
  const std::uint64_t until = ticks_now() + ticks_of_ns(ns);
  while (ticks_now() < until) cpu_relax();
}

CoreLoss::CoreLoss() noexcept : wall_ns_(kernel_ns()), cpu_ns_(kernel_ns(CLOCK_THREAD_CPUTIME_ID)) {}

double CoreLoss::share() const noexcept {
  const auto wall = static_cast<double>(kernel_ns() - wall_ns_);
  const auto cpu = static_cast<double>(kernel_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns_);
  return wall > 0 ? std::clamp(1 - cpu / wall, 0.0, 1.0) : 0;
}

RateMeter::RateMeter(std::uint64_t expected, std::uint64_t stretch)
    : stretch_(std::clamp<std::uint64_t>(stretch, 1, std::max<std::uint64_t>(expected, 1))), next_(stretch_) {
  per_tick_.reserve(expected / stretch_ + 2);
}

void RateMeter::mark(std::uint64_t done) noexcept {
  const std::uint64_t now = ticks_now();
  if (now > last_ticks_ && per_tick_.size() < per_tick_.capacity()) {
    per_tick_.push_back(static_cast<double>(done - last_done_) / static_cast<double>(now - last_ticks_));
  }
  last_ticks_ = now;
  last_done_ = done;
  next_ = done + stretch_;
}

void RateMeter::finish(std::uint64_t done) noexcept {
  done_ = done;
  end_ticks_ = ticks_now();
}

double RateMeter::per_s() const {
  const auto ticks = static_cast<double>(end_ticks_ - start_ticks_);
  return ticks > 0 ? static_cast<double>(done_) / (ticks * ns_per_tick() * 1e-9) : 0;
}

double RateMeter::steady_per_s() const { return spread_of(per_tick_).median / (ns_per_tick() * 1e-9); }

Percentiles percentiles_of_ticks(std::span<std::uint64_t> ticks) { return percentiles_scaled(ticks, ns_per_tick()); }

Percentiles percentiles_of_ns(std::span<std::uint64_t> ns) { return percentiles_scaled(ns, 1.0); }

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  const double median = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
  return {median, values.front(), values.back(), n};
}

PercentileSpread spread_of(std::span<const Percentiles> repetitions) {
  const auto over = [&](double Percentiles::*member) {
    std::vector<double> values;
    values.reserve(repetitions.size());
    for (const Percentiles& one : repetitions) values.push_back(one.*member);
    return spread_of(std::move(values));
  };
  return {over(&Percentiles::p50_ns), over(&Percentiles::p90_ns), over(&Percentiles::p99_ns),
          over(&Percentiles::p999_ns), over(&Percentiles::max_ns)};
}

Placement judge_placement(double handoff_ns) noexcept {
  if (handoff_ns < kSmtBelowNs) return Placement::kSmt;
  if (handoff_ns > kFarAboveNs) return Placement::kFar;
  return Placement::kL3;
}

std::string_view to_string(Placement placement) noexcept {
  switch (placement) {
    case Placement::kSmt: return "smt";
    case Placement::kL3: return "l3";
    case Placement::kFar: return "far";
    case Placement::kMoved: return "moved";
  }
  return "moved";
}

Placement Measured::placement() const noexcept {
  const Placement before = judge_placement(handoff_before_ns);
  if (before == judge_placement(handoff_after_ns)) return before;
  // Two readings on either side of a border are not a move unless they are far apart too.
  constexpr double kJitter = 1.4;
  const auto [low, high] = std::minmax(handoff_before_ns, handoff_after_ns);
  return high > low * kJitter ? Placement::kMoved : judge_placement(handoff_ns());
}

void RatioSeries::add(const Measured& floor, const Measured& subject) {
  const Placement placement = floor.placement() == subject.placement() ? floor.placement() : Placement::kMoved;
  samples_.push_back({floor.value, subject.value, floor.steady, subject.steady,
                      (floor.handoff_ns() + subject.handoff_ns()) / 2, placement,
                      floor.disturbed() || subject.disturbed()});
}

RatioSeries RatioSeries::only(Placement placement) const {
  RatioSeries part;
  std::copy_if(samples_.begin(), samples_.end(), std::back_inserter(part.samples_),
               [&](const RatioSample& sample) { return sample.placement == placement; });
  return part;
}

Spread RatioSeries::ratio() const {
  std::vector<double> values;
  for (const RatioSample& sample : samples_) values.push_back(sample.ratio());
  return spread_of(std::move(values));
}

Spread RatioSeries::steady_ratio() const {
  std::vector<double> values;
  for (const RatioSample& sample : samples_) {
    if (sample.floor_steady <= 0 || sample.subject_steady <= 0) return {};
    values.push_back(sample.steady_ratio());
  }
  return spread_of(std::move(values));
}

Spread RatioSeries::floor() const {
  std::vector<double> values;
  for (const RatioSample& sample : samples_) values.push_back(sample.floor);
  return spread_of(std::move(values));
}

Spread RatioSeries::subject() const {
  std::vector<double> values;
  for (const RatioSample& sample : samples_) values.push_back(sample.subject);
  return spread_of(std::move(values));
}

std::size_t RatioSeries::disturbed_count() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(samples_.begin(), samples_.end(), [](const RatioSample& sample) { return sample.disturbed; }));
}

Measured undisturbed(const std::function<Measured()>& measure, int tries) {
  Measured result = measure();
  for (int i = 1; i < tries && result.disturbed(); ++i) result = measure();
  return result;
}

RatioSeries alternate(int runs, const std::function<Measured()>& floor, const std::function<Measured()>& subject) {
  RatioSeries series;
  for (int run = 0; run < runs; ++run) {
    if (run % 2 == 0) {
      const Measured first = undisturbed(floor);
      series.add(first, undisturbed(subject));
    } else {
      const Measured first = undisturbed(subject);
      series.add(undisturbed(floor), first);
    }
  }
  return series;
}

}  // namespace stem::bench
