// stem-bench fanin: many producer processes, one worker.
#include <fmt/format.h>

#include <algorithm>

#include "bench/command.hpp"
#include "bench/life_cycle.hpp"

namespace stem::bench {

namespace {

struct Options {
  std::uint64_t tasks = 2'000'000;
  std::uint32_t batch = 1;
  bool spread = false;
};

constexpr std::uint32_t kProducers[] = {1, 2, 4, 8, 16, 32};

void run(Session& session, const Options& options) {
  std::vector<double> rates[std::size(kProducers)], ratios[std::size(kProducers)];
  for (int run = 0; run < session.runs; ++run) {
    for (std::size_t i = 0; i < std::size(kProducers); ++i) {
      LifeCycle life;
      life.tasks = options.tasks;
      life.batch = options.batch;
      life.producers = kProducers[i];
      life.pin_producers = !options.spread;
      const Measured rate = undisturbed([&] { return life_cycle_rate(session.cpus, life); });
      rates[i].push_back(rate.steady);
      ratios[i].push_back(rate.steady / rates[0].back());
      session.progress(fmt::format("run {}/{}: {} producers: {}", run + 1, session.runs, kProducers[i],
                                   format_value(rate.steady, Unit::kPerSecond)));
    }
  }
  Report& report = session.report;
  report.settings.emplace_back("tasks", std::to_string(options.tasks));
  report.settings.emplace_back("batch", std::to_string(options.batch));
  report.settings.emplace_back("producers_on", options.spread ? "any core" : "the first core");
  Table table{"fanin",
              "Producer processes that share cores, one worker",
              spread_columns("tasks_per_s", "total rate", Unit::kPerSecond),
              {}};
  table.columns.push_back({"ratio", "÷ 1 producer", Unit::kRatio});
  table.columns.push_back({"ratio_least", "least", Unit::kRatio});
  table.columns.push_back({"ratio_most", "most", Unit::kRatio});
  Plot plot;
  plot.title = "Many producer processes, one worker process";
  plot.subtitle = fmt::format("{} · {}", report.command_line, report.machine.front().value);
  plot.value_label = "tasks per second, steady (whiskers: least and most of the runs)";
  plot.value_unit = Unit::kPerSecond;
  for (std::size_t i = 0; i < std::size(kProducers); ++i) {
    const Spread rate = spread_of(rates[i]), ratio = spread_of(ratios[i]);
    std::vector<Cell> cells = spread_cells(rate);
    cells.insert(cells.end(), {ratio.median, ratio.min, ratio.max});
    const std::string label = fmt::format("{} producer{}", kProducers[i], kProducers[i] == 1 ? "" : "s");
    table.rows.push_back({fmt::format("producers_{}", kProducers[i]), label, std::move(cells)});
    plot.bars.push_back({label, rate, true});
  }
  report.tables.push_back(std::move(table));
  report.notes.push_back(
      "The floor of this figure is one producer, the first row of the same run. Every task of every producer "
      "ran exactly once.");
  report.plot = std::move(plot);
}

}  // namespace

CommandBody declare_fanin(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--tasks", options->tasks, "tasks of each run, all producers together")
      ->check(CLI::Range(std::uint64_t{10'000}, std::uint64_t{1} << 32))
      ->capture_default_str();
  app.add_option("--batch", options->batch, "tasks enqueued together")
      ->check(CLI::Range(1u, kMostBatch))
      ->capture_default_str();
  app.add_flag("--spread", options->spread, "producers run on any core, the worker's too");
  return [options](Session& session) { run(session, *options); };
}

}  // namespace stem::bench
