// stem-bench depth: what a task costs when many wait before it.
#include <fmt/format.h>

#include <algorithm>

#include "bench/command.hpp"
#include "bench/life_cycle.hpp"

namespace stem::bench {

namespace {

struct Options {
  std::uint64_t tasks = 1'000'000;
  std::uint32_t batch = 1;
  std::vector<std::uint32_t> depths = {1'000, 10'000, 100'000, 1'000'000, 4'000'000};
};

void run(Session& session, const Options& options) {
  std::vector<std::vector<double>> cost_ns(options.depths.size());
  std::vector<std::vector<double>> ratios(options.depths.size());
  for (int run = 0; run < session.runs; ++run) {
    for (std::size_t i = 0; i < options.depths.size(); ++i) {
      LifeCycle life;
      life.tasks = options.tasks;
      life.batch = options.batch;
      life.depth = options.depths[i];
      life.fill_first = true;
      const Measured rate = undisturbed([&] { return life_cycle_rate(session.cpus, life); });
      cost_ns[i].push_back(1e9 / rate.steady);
      ratios[i].push_back(cost_ns[i].back() / cost_ns[0].back());
      session.progress(fmt::format("run {}/{}: {} queued: {} a task", run + 1, session.runs, options.depths[i],
                                   format_value(cost_ns[i].back(), Unit::kNanoseconds)));
    }
  }
  Report& report = session.report;
  report.settings.emplace_back("tasks", std::to_string(options.tasks));
  report.settings.emplace_back("batch", std::to_string(options.batch));
  Table table{"depth",
              "Cost of a task's whole life while as many others stay queued",
              spread_columns("cost_ns", "per task", Unit::kNanoseconds),
              {}};
  table.columns.push_back({"ratio", fmt::format("÷ at {}", options.depths[0]), Unit::kRatio});
  table.columns.push_back({"ratio_least", "least", Unit::kRatio});
  table.columns.push_back({"ratio_most", "most", Unit::kRatio});
  Plot plot;
  plot.title = "Cost of a task by how many are queued before it";
  plot.subtitle = fmt::format("{} · {}", report.command_line, report.machine.front().value);
  plot.value_label = "per task, steady";
  plot.value_unit = Unit::kNanoseconds;
  plot.x_label = "tasks queued";
  plot.x_unit = Unit::kCount;
  plot.log_x = true;
  PlotLine line{"one producer, one worker", {}};
  for (std::size_t i = 0; i < options.depths.size(); ++i) {
    const Spread cost = spread_of(cost_ns[i]), ratio = spread_of(ratios[i]);
    std::vector<Cell> cells = spread_cells(cost);
    cells.insert(cells.end(), {ratio.median, ratio.min, ratio.max});
    const std::string depth = std::to_string(options.depths[i]);
    table.rows.push_back({"depth_" + depth, format_value(options.depths[i], Unit::kCount), std::move(cells)});
    line.points.push_back({static_cast<double>(options.depths[i]), cost.median});
  }
  report.tables.push_back(std::move(table));
  report.notes.push_back("The floor of this figure is the same queue nearly empty: the first row of the same run.");
  plot.lines.push_back(std::move(line));
  report.plot = std::move(plot);
}

}  // namespace

CommandBody declare_depth(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--tasks", options->tasks, "tasks timed at each depth")
      ->check(CLI::Range(std::uint64_t{10'000}, std::uint64_t{1} << 32))
      ->capture_default_str();
  app.add_option("--batch", options->batch, "tasks enqueued together")
      ->check(CLI::Range(1u, kMostBatch))
      ->capture_default_str();
  app.add_option("--depths", options->depths, "tasks queued; the first is what the others are divided by")
      ->delimiter(',')
      ->check(CLI::Range(64, 8'000'000))
      ->capture_default_str();
  return [options](Session& session) { run(session, *options); };
}

}  // namespace stem::bench
