// stem-bench latency: one task at a time: until it starts, until its result is back, and how late it starts.
#include <fmt/format.h>

#include <algorithm>

#include "bench/command.hpp"
#include "bench/failure.hpp"
#include "bench/floor.hpp"
#include "bench/hand_over.hpp"

namespace stem::bench {

namespace {

struct Options {
  std::uint64_t tasks = 20'000;
  std::uint64_t wakes = 1000;
  std::uint64_t delayed = 200;
};

constexpr double kIdleNs = 20e3;

// One figure: its percentiles of each run, and each run's floor.
struct Figure {
  const char* key;
  const char* label;
  const char* floor_name;
  std::vector<Percentiles> times;
  std::vector<double> floor_ns;

  void add(const Percentiles& one, double floor) {
    times.push_back(one);
    floor_ns.push_back(floor);
  }
  // The median of the runs' own ratios.
  Spread ratio(double Percentiles::*member) const {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < times.size(); ++i)
      if (floor_ns[i] > 0) ratios.push_back(times[i].*member / floor_ns[i]);
    return spread_of(std::move(ratios));
  }
};

struct Figures {
  Figure spinning{"start_spinning", "enqueue → handler, worker spinning", "hand-off", {}, {}};
  Figure parked{"start_parked", "enqueue → handler, worker parked for 20 µs", "futex wake", {}, {}};
  Figure back{"result_back", "enqueue → result back, spinning", "hand-off", {}, {}};
  Figure delayed{"delayed_spinning", "delayed task, lateness, worker spinning", "", {}, {}};
  Figure delayed_parked{"delayed_parked", "delayed task, lateness, worker parked", "", {}, {}};
  std::uint64_t early = 0;
};

void measure_once(const Session& session, const Options& options, Figures& figures) {
  const HandOver spinning = start_spinning(session.cpus, options.tasks);
  figures.spinning.add(spinning.times, spinning.handoff_ns());
  const HandOver back = result_back(session.cpus, options.tasks);
  figures.back.add(back.times, back.handoff_ns());
  const FutexWake wake = futex_wake_ns(session.cpus, kIdleNs, options.wakes);
  figures.parked.add(start_parked(session.cpus, options.wakes, kIdleNs).times, wake.one_way.p50_ns);
  for (Figure* figure : {&figures.delayed, &figures.delayed_parked}) {
    const Lateness late = delayed_start(session.cpus, options.delayed, figure == &figures.delayed_parked);
    figure->add(late.times, 0);
    figures.early += late.early;
  }
}

Table times_table(const std::vector<const Figure*>& figures) {
  Table table{"latency", "One task at a time, two pinned processes", percentile_columns(), {}};
  for (const Figure* figure : figures)
    table.rows.push_back({figure->key, figure->label, percentile_cells(spread_of(std::span(figure->times)))});
  return table;
}

Table ratios_table(const std::vector<const Figure*>& figures) {
  Table table{"ratio",
              "Against the floor of the same run",
              {{"floor", "floor", Unit::kText},
               {"floor_ns", "its p50", Unit::kNanoseconds},
               {"ratio_p50", "p50 ÷ floor", Unit::kRatio},
               {"ratio_p50_least", "least", Unit::kRatio},
               {"ratio_p50_most", "most", Unit::kRatio},
               {"ratio_p99", "p99 ÷ floor", Unit::kRatio}},
              {}};
  for (const Figure* figure : figures) {
    const Spread p50 = figure->ratio(&Percentiles::p50_ns);
    if (p50.count == 0) continue;
    table.rows.push_back({figure->key,
                          figure->label,
                          {std::string(figure->floor_name), spread_of(figure->floor_ns).median, p50.median, p50.min,
                           p50.max, figure->ratio(&Percentiles::p99_ns).median}});
  }
  return table;
}

Plot picture(const Report& report, const Figures& figures) {
  Plot plot;
  plot.title = "One task at a time";
  plot.subtitle = fmt::format("{} · {}", report.command_line, report.machine.front().value);
  plot.value_label = "p50 (whiskers: least and most of the runs)";
  plot.value_unit = Unit::kNanoseconds;
  plot.log_value = true;
  const auto p50 = [](const Figure& figure) { return spread_of(std::span(figure.times)).p50; };
  plot.bars = {
      {"hand-off of 64 bytes", spread_of(figures.spinning.floor_ns), false},
      {"enqueue → handler, spinning", p50(figures.spinning), true},
      {"enqueue → result back, spinning", p50(figures.back), true},
      {"futex wake", spread_of(figures.parked.floor_ns), false},
      {"enqueue → handler, parked", p50(figures.parked), true},
      {"delayed: lateness, spinning", p50(figures.delayed), true},
      {"delayed: lateness, parked", p50(figures.delayed_parked), true},
  };
  return plot;
}

void run(Session& session, const Options& options) {
  Figures figures;
  for (int i = 0; i < session.runs; ++i) {
    measure_once(session, options, figures);
    session.progress(fmt::format("run {}/{}: enqueue → handler {}", i + 1, session.runs,
                                 format_value(figures.spinning.times.back().p50_ns, Unit::kNanoseconds)));
  }
  if (figures.early > 0) throw Failure(fmt::format("{} delayed tasks started before their time", figures.early));
  Report& report = session.report;
  report.settings.emplace_back("tasks", std::to_string(options.tasks));
  const std::vector<const Figure*> all = {&figures.spinning, &figures.back, &figures.parked, &figures.delayed,
                                          &figures.delayed_parked};
  report.tables = {times_table(all), ratios_table(all)};
  report.notes.push_back(
      "Start times: the round trip on the producer's clock less one hand-off for the way back. The keeper "
      "sleeps until some time before a due time, as the supervisor does; no delayed task started early.");
  report.plot = picture(report, figures);
}

}  // namespace

CommandBody declare_latency(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--tasks", options->tasks, "tasks of each spinning figure")
      ->check(CLI::Range(100, 10'000'000))
      ->capture_default_str();
  app.add_option("--wakes", options->wakes, "tasks to a parked worker")
      ->check(CLI::Range(10, 1'000'000))
      ->capture_default_str();
  app.add_option("--delayed", options->delayed, "delayed tasks, 1 to 20 ms each")
      ->check(CLI::Range(10, 100'000))
      ->capture_default_str();
  return [options](Session& session) { run(session, *options); };
}

}  // namespace stem::bench
