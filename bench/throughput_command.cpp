// stem-bench throughput: the full life of tasks that do nothing, beside the bare ring of the same run.
#include <fmt/format.h>

#include <algorithm>

#include "bench/command.hpp"
#include "bench/floor.hpp"
#include "bench/life_cycle.hpp"

namespace stem::bench {

namespace {

struct Options {
  std::uint64_t tasks = 4u << 20;
  std::uint32_t depth = 30'000;
  std::uint32_t payload_bytes = 64;
  std::vector<std::string> only;
};

struct Case {
  const char* key;
  const char* label;
  std::uint32_t batch;
  std::uint32_t prefetch;
};
constexpr Case kCases[] = {
    {"one_prefetch2", "one at a time, prefetch 2", 1, 2}, {"one_prefetch64", "one at a time, prefetch 64", 1, 64},
    {"many16_prefetch2", "by 16, prefetch 2", 16, 2},     {"many16_prefetch64", "by 16, prefetch 64", 16, 64},
    {"many64_prefetch2", "by 64, prefetch 2", 64, 2},     {"many64_prefetch64", "by 64, prefetch 64", 64, 64},
};

struct Outcome {
  const Case* shape;
  RatioSeries series;
};

bool chosen(const Options& options, const Case& shape) {
  return options.only.empty() || std::find(options.only.begin(), options.only.end(), shape.key) != options.only.end();
}

// Each case by turns with the floor, and all cases once before any is repeated.
std::vector<Outcome> measure(const Session& session, const Options& options) {
  std::vector<Outcome> outcomes;
  for (const Case& shape : kCases)
    if (chosen(options, shape)) outcomes.push_back({&shape, {}});
  for (int run = 0; run < session.runs; ++run) {
    for (Outcome& outcome : outcomes) {
      LifeCycle life;
      life.tasks = options.tasks;
      life.depth = options.depth;
      life.payload_bytes = options.payload_bytes;
      life.batch = outcome.shape->batch;
      life.prefetch = outcome.shape->prefetch;
      const auto floor = [&] { return spsc_ring_rate(session.cpus); };
      const auto subject = [&] { return life_cycle_rate(session.cpus, life); };
      const bool floor_first = run % 2 == 0;
      const Measured first = undisturbed(floor_first ? std::function<Measured()>(floor) : subject);
      const Measured second = undisturbed(floor_first ? std::function<Measured()>(subject) : floor);
      outcome.series.add(floor_first ? first : second, floor_first ? second : first);
      session.progress(fmt::format("run {}/{}: {}: {}", run + 1, session.runs, outcome.shape->label,
                                   format_value(outcome.series.samples().back().subject_steady, Unit::kPerSecond)));
    }
  }
  return outcomes;
}

Spread steady_of(const RatioSeries& series, double RatioSample::*member) {
  std::vector<double> values;
  for (const RatioSample& sample : series.samples()) values.push_back(sample.*member);
  return spread_of(std::move(values));
}

Table table_of(const std::vector<Outcome>& outcomes) {
  Table table{"throughput",
              "Full life cycle, two processes, handlers that do nothing",
              spread_columns("tasks_per_s", "rate", Unit::kPerSecond),
              {}};
  table.columns.push_back({"steady_tasks_per_s", "steady", Unit::kPerSecond});
  table.columns.push_back({"floor_steady_per_s", "ring beside it", Unit::kPerSecond});
  table.columns.push_back({"steady_ratio", "× ring", Unit::kRatio});
  table.columns.push_back({"steady_ns", "per task", Unit::kNanoseconds});
  table.columns.push_back({"handoff_ns", "hand-off", Unit::kNanoseconds});
  for (const Outcome& outcome : outcomes) {
    std::vector<Cell> cells = spread_cells(outcome.series.subject());
    const double steady = steady_of(outcome.series, &RatioSample::subject_steady).median;
    cells.emplace_back(steady);
    cells.emplace_back(steady_of(outcome.series, &RatioSample::floor_steady).median);
    cells.emplace_back(outcome.series.steady_ratio().median);
    cells.emplace_back(1e9 / steady);
    cells.emplace_back(steady_of(outcome.series, &RatioSample::handoff_ns).median);
    table.rows.push_back({outcome.shape->key, outcome.shape->label, std::move(cells)});
  }
  return table;
}

Plot picture(const Report& report, const std::vector<Outcome>& outcomes) {
  Plot plot;
  plot.title = "Full life cycle of a task, one producer process and one worker process";
  plot.subtitle = fmt::format("{} · {}", report.command_line, report.machine.front().value);
  plot.value_label = "tasks per second, steady (whiskers: least and most of the runs)";
  plot.value_unit = Unit::kPerSecond;
  for (const Outcome& outcome : outcomes) {
    plot.bars.push_back({outcome.shape->label, steady_of(outcome.series, &RatioSample::subject_steady), true});
  }
  std::vector<double> floors;
  for (const Outcome& outcome : outcomes)
    for (const RatioSample& sample : outcome.series.samples()) floors.push_back(sample.floor_steady);
  plot.bars.push_back({"bare ring, by 64", spread_of(std::move(floors)), false});
  return plot;
}

void run(Session& session, const Options& options) {
  Report& report = session.report;
  report.settings.emplace_back("tasks", std::to_string(options.tasks));
  report.settings.emplace_back("payload_bytes", std::to_string(options.payload_bytes));
  report.settings.emplace_back("depth", std::to_string(options.depth));
  const std::vector<Outcome> outcomes = measure(session, options);
  report.tables.push_back(table_of(outcomes));
  std::vector<Placement> placements;
  std::size_t disturbed = 0;
  for (const Outcome& outcome : outcomes) {
    report.tables.push_back(ratio_table(std::string("ratio_") + outcome.shape->key,
                                        fmt::format("{}: against the bare ring", outcome.shape->label), outcome.series,
                                        Unit::kPerSecond));
    for (const RatioSample& sample : outcome.series.samples()) placements.push_back(sample.placement);
    disturbed += outcome.series.disturbed_count();
  }
  report.notes.push_back(
      "Every promise is on: lease, fencing, counters, wait and duration histograms, heartbeat, the "
      "producer's look for sleepers. Every task ran exactly once with its own bytes.");
  report.notes.push_back(fmt::format("Placements: {}; {} of {} pairs disturbed by other programs.",
                                     placement_summary(placements), disturbed, placements.size()));
  report.plot = picture(report, outcomes);
}

}  // namespace

CommandBody declare_throughput(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--tasks", options->tasks, "tasks of each run")
      ->check(CLI::Range(std::uint64_t{1000}, std::uint64_t{1} << 32))
      ->capture_default_str();
  app.add_option("--depth", options->depth, "tasks queued at most: the producer waits beyond it")
      ->check(CLI::Range(64, 4'000'000))
      ->capture_default_str();
  app.add_option("--payload-bytes", options->payload_bytes, "bytes of each task")
      ->check(CLI::Range(8, 1 << 20))
      ->capture_default_str();
  std::vector<std::string> keys;
  for (const Case& shape : kCases) keys.emplace_back(shape.key);
  app.add_option("--only", options->only, "measure this case only (repeat)")->check(CLI::IsMember(keys));
  return [options](Session& session) { run(session, *options); };
}

}  // namespace stem::bench
