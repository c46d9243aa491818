// stem-bench floor: every floor, `--runs` times in turn, so that all of them see the same drift.
#include <fmt/format.h>

#include "bench/command.hpp"
#include "bench/floor.hpp"

namespace stem::bench {

namespace {

struct Options {
  std::uint64_t rounds = 100'000;
  std::uint64_t messages = 4u << 20;
  std::uint64_t wakes = 1000;
};

constexpr double kShortIdleNs = 20e3;
constexpr double kLongIdleNs = 1e6;

struct RingCase {
  const char* key;
  const char* label;
  std::uint64_t slots;
  std::uint64_t batch;
};
// The second is the floor that Stem's throughput is quoted against.
constexpr RingCase kRings[] = {
    {"ring_8192_batch1", "8,192 slots, published one by one", 8192, 1},
    {"ring_8192_batch64", "8,192 slots, published by 64", 8192, 64},
    {"ring_65536_batch64", "65,536 slots, published by 64", 65536, 64},
};
constexpr std::size_t kQuotedRing = 1;

struct HandoffCase {
  const char* key;
  const char* label;
  HandoffKind kind;
};
constexpr HandoffCase kHandoffs[] = {
    {"handoff_64b", "64-byte message, spinning", HandoffKind::kMessage},
    {"handoff_64b_pause", "the same with pause", HandoffKind::kMessageWithPause},
    {"handoff_flag", "8-byte flag, spinning", HandoffKind::kFlag},
};

// All samples of all runs.
struct Samples {
  std::vector<Percentiles> handoffs[std::size(kHandoffs)];
  std::vector<double> rings[std::size(kRings)];
  std::vector<double> steady_rings[std::size(kRings)];
  std::vector<double> ring_handoff_ns[std::size(kRings)];
  std::vector<Placement> placements;
  int disturbed_rings = 0;
  std::vector<Percentiles> short_wakes, short_calls, long_wakes, long_calls;
  std::vector<double> tsc, tscp, monotonic, coarse;
  std::vector<double> tsc_offset_ns, tsc_error_ns;
};

void measure_once(const Session& session, const Options& options, Samples& samples) {
  for (std::size_t i = 0; i < std::size(kHandoffs); ++i) {
    samples.handoffs[i].push_back(handoff_percentiles(session.cpus, options.rounds, kHandoffs[i].kind));
  }
  for (std::size_t i = 0; i < std::size(kRings); ++i) {
    const RingShape shape{kRings[i].slots, kRings[i].batch, options.messages};
    const Measured rate = undisturbed([&] { return spsc_ring_rate(session.cpus, shape); });
    samples.rings[i].push_back(rate.value);
    samples.steady_rings[i].push_back(rate.steady);
    samples.ring_handoff_ns[i].push_back(rate.handoff_ns());
    samples.placements.push_back(rate.placement());
    samples.disturbed_rings += rate.disturbed() ? 1 : 0;
  }
  const FutexWake soon = futex_wake_ns(session.cpus, kShortIdleNs, options.wakes);
  const FutexWake late = futex_wake_ns(session.cpus, kLongIdleNs, std::max<std::uint64_t>(options.wakes / 5, 1));
  samples.short_wakes.push_back(soon.one_way);
  samples.short_calls.push_back(soon.call);
  samples.long_wakes.push_back(late.one_way);
  samples.long_calls.push_back(late.call);
  const ClockCost clocks = clock_cost_ns(session.cpus);
  samples.tsc.push_back(clocks.tsc_ns);
  samples.tscp.push_back(clocks.tscp_ns);
  samples.monotonic.push_back(clocks.monotonic_ns);
  samples.coarse.push_back(clocks.monotonic_coarse_ns);
  const TscOffset offset = tsc_offset(session.cpus);
  samples.tsc_offset_ns.push_back(offset.offset_ns);
  samples.tsc_error_ns.push_back(offset.error_ns);
}

Table handoff_table(const Samples& samples) {
  Table table{"handoff", "Cache-line hand-off between two processes, one way", percentile_columns(), {}};
  for (std::size_t i = 0; i < std::size(kHandoffs); ++i) {
    table.rows.push_back(
        {kHandoffs[i].key, kHandoffs[i].label, percentile_cells(spread_of(std::span(samples.handoffs[i])))});
  }
  return table;
}

Table ring_table(const Samples& samples) {
  Table table{"ring",
              "Bare SPSC ring, 64-byte messages, every byte written and read",
              spread_columns("messages_per_s", "rate", Unit::kPerSecond),
              {}};
  table.columns.push_back({"steady_messages_per_s", "steady", Unit::kPerSecond});
  table.columns.push_back({"handoff_ns", "hand-off beside it", Unit::kNanoseconds});
  for (std::size_t i = 0; i < std::size(kRings); ++i) {
    std::vector<Cell> cells = spread_cells(spread_of(samples.rings[i]));
    cells.emplace_back(spread_of(samples.steady_rings[i]).median);
    cells.emplace_back(spread_of(samples.ring_handoff_ns[i]).median);
    table.rows.push_back({kRings[i].key, kRings[i].label, std::move(cells)});
  }
  return table;
}

Table wake_table(const Samples& samples) {
  Table table{"futex", "Futex wake of a parked process", percentile_columns(), {}};
  const auto add = [&](const char* key, const char* label, const std::vector<Percentiles>& values) {
    table.rows.push_back({key, label, percentile_cells(spread_of(std::span(values)))});
  };
  add("wake_20us", "one way, parked for 20 µs", samples.short_wakes);
  add("wake_1ms", "one way, parked for 1 ms", samples.long_wakes);
  add("call_20us", "the waker's call, parked for 20 µs", samples.short_calls);
  add("call_1ms", "the waker's call, parked for 1 ms", samples.long_calls);
  return table;
}

Table clock_table(const Samples& samples) {
  Table table{"clock", "Clocks, per read", spread_columns("cost_ns", "cost", Unit::kNanoseconds), {}};
  const auto add = [&](const char* key, const char* label, const std::vector<double>& values) {
    table.rows.push_back({key, label, spread_cells(spread_of(values))});
  };
  add("rdtsc", "rdtsc", samples.tsc);
  add("rdtscp", "rdtscp", samples.tscp);
  add("clock_monotonic", "clock_gettime, monotonic", samples.monotonic);
  add("clock_monotonic_coarse", "clock_gettime, monotonic coarse", samples.coarse);
  return table;
}

Spread spread_of_p50(const std::vector<Percentiles>& values) { return spread_of(std::span(values)).p50; }

Plot picture(const Report& report, const Samples& samples) {
  Plot plot;
  plot.title = "The floor: one step between two processes";
  plot.subtitle = fmt::format("{} · {}", report.command_line, report.machine.front().value);
  plot.value_label = "time per step, p50 (whiskers: least and most of the runs)";
  plot.value_unit = Unit::kNanoseconds;
  plot.log_value = true;
  std::vector<double> per_message_ns;
  for (const double rate : samples.steady_rings[kQuotedRing]) per_message_ns.push_back(1e9 / rate);
  plot.bars = {
      {"one message of the bare ring", spread_of(per_message_ns), true},
      {"reading the counter (rdtsc)", spread_of(samples.tsc), false},
      {"reading the clock (monotonic)", spread_of(samples.monotonic), false},
      {"hand-off of 64 bytes", spread_of_p50(samples.handoffs[0]), true},
      {"waking: the waker's call", spread_of_p50(samples.short_calls), false},
      {"waking: parked for 20 µs", spread_of_p50(samples.short_wakes), true},
      {"waking: parked for 1 ms", spread_of_p50(samples.long_wakes), false},
  };
  return plot;
}

void run(Session& session, const Options& options) {
  Samples samples;
  for (int i = 0; i < session.runs; ++i) measure_once(session, options, samples);

  Report& report = session.report;
  report.tables = {handoff_table(samples), ring_table(samples), wake_table(samples), clock_table(samples)};
  const double handoff_ns = spread_of_p50(samples.handoffs[0]).median;
  const Placement placement = judge_placement(handoff_ns);
  report.settings.emplace_back("placement", to_string(placement));
  report.notes.push_back(
      fmt::format("Placement: {} by the median hand-off of {} (smt below {:.0f} ns, far above "
                  "{:.0f} ns); at the rings: {}.",
                  to_string(placement), format_value(handoff_ns, Unit::kNanoseconds), kSmtBelowNs, kFarAboveNs,
                  placement_summary(samples.placements)));
  report.notes.push_back(
      fmt::format("Counters: the second CPU's is {:+.1f} ns from the first's, known within {:.1f} ns.",
                  spread_of(samples.tsc_offset_ns).median, spread_of(samples.tsc_error_ns).median));
  if (samples.disturbed_rings > 0) {
    report.notes.push_back(fmt::format("{} of {} ring measurements stayed disturbed by other programs.",
                                       samples.disturbed_rings, samples.placements.size()));
  }
  report.plot = picture(report, samples);
}

}  // namespace

CommandBody declare_floor(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--rounds", options->rounds, "round trips of each hand-off")
      ->check(CLI::Range(100, 100'000'000))
      ->capture_default_str();
  app.add_option("--messages", options->messages, "messages through each ring")
      ->check(CLI::Range(std::uint64_t{64}, std::uint64_t{1} << 32))
      ->capture_default_str();
  app.add_option("--wakes", options->wakes, "wake-ups after 20 µs; a fifth of them after 1 ms")
      ->check(CLI::Range(10, 1'000'000))
      ->capture_default_str();
  return [options](Session& session) { run(session, *options); };
}

}  // namespace stem::bench
