// stem-bench federation: tasks between hosts through a Redis of its own, each figure beside its floor in the same run.
#include <fmt/format.h>

#include <algorithm>

#include "bench/command.hpp"
#include "bench/failure.hpp"
#include "bench/federation.hpp"

namespace stem::bench {

namespace {

struct Options {
  FlowShape flow;
  std::uint64_t starts = 300;
  std::uint64_t local_tasks = 20'000'000;
  std::uint64_t passing_tasks = 1'000'000;
  std::vector<std::string> only;

  bool wants(const char* figure) const {
    return only.empty() || std::find(only.begin(), only.end(), figure) != only.end();
  }
};

constexpr const char* kFigures[] = {"export", "import", "start", "local", "passing"};

// One figure: subject and floor of each run, and what is to be reached.
struct Figure {
  const char* key;
  const char* label;
  const char* floor_name;
  const char* goal;
  std::vector<double> subject, floor;
  std::vector<Flow> subject_flow, floor_flow;

  void add(double one, double beside) {
    subject.push_back(one);
    floor.push_back(beside);
  }
  void add(const Flow& one, const Flow& beside) {
    if (one.tasks_per_s <= 0 || beside.tasks_per_s <= 0)
      throw Failure(fmt::format("{}: over before it could be measured; more --tasks, please", key));
    add(one.tasks_per_s, beside.tasks_per_s);
    subject_flow.push_back(one);
    floor_flow.push_back(beside);
  }
  // The median of the runs' own ratios.
  Spread ratio() const {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < subject.size(); ++i) ratios.push_back(subject[i] / floor[i]);
    return spread_of(std::move(ratios));
  }
};

struct Figures {
  Figure out{"export", "export", "bare client, the same XADDs", "≥ 0.8", {}, {}, {}, {}};
  Figure in{"import", "import and acknowledge", "bare client, XREADGROUP, XACK, XDEL by 100", "≥ 0.8", {}, {}, {}, {}};
  // By whom; the first is the one with a goal.
  Figure starts[3] = {
      {"start", "enqueue on a host → handler on another, p50", "PING of a bare client, p50", "≤ 3", {}, {}, {}, {}},
      {"start_gateways_spin", "the same, gateways spinning", "PING meanwhile, p50", "", {}, {}, {}, {}},
      {"start_bare",
       "the same by bare clients: futex, XADD, XREADGROUP, futex",
       "PING meanwhile, p50",
       "",
       {},
       {},
       {},
       {}}};
  Figure start_to_bare{
      "start_to_bare", "enqueue on a host → handler on another, p50", "the same by bare clients", "", {}, {}, {}, {}};
  Figure busy{"local_busy", "local tasks, gateway busy", "no gateway", "≥ 0.9", {}, {}, {}, {}};
  Figure busy_equal{"local_busy_equal", "local tasks, gateway busy by --nice 0", "no gateway", "", {}, {}, {}, {}};
  Figure busy_bare{
      "local_busy_bare", "local tasks, gateway busy by --nice 0", "bare client busy in its place", "", {}, {}, {}, {}};
  Figure stopped{"local_stopped", "local tasks, Redis stopped", "no gateway", "≥ 0.9", {}, {}, {}, {}};
  std::vector<Percentiles> start_times[3], pings[3];  // of each of `starts`
  std::vector<LocalRate> busy_rates, equal_rates;
  std::vector<Passing> passings;
};

// Every other run the floor comes first, so that a machine that drifts favours neither.
template <class Floor, class Subject>
void take_turns(int run, Figure& figure, Floor floor, Subject subject) {
  if (run % 2 == 0) {
    const Flow beside = floor();
    figure.add(subject(), beside);
  } else {
    const Flow one = subject();
    figure.add(one, floor());
  }
}

void measure_local(const Session& session, const RedisServer& redis, std::uint64_t tasks, Stock& stock,
                   Figures& figures) {
  const auto beside = [&](Neighbour neighbour) { return local_rate(session.cpus, redis, tasks, neighbour, stock); };
  const LocalRate alone = beside(Neighbour::kNone);
  const LocalRate busy = beside(Neighbour::kBusy);
  const LocalRate equal = beside(Neighbour::kBusyEqual);
  const LocalRate bare = beside(Neighbour::kBareClient);
  const LocalRate stopped = beside(Neighbour::kRedisStopped);
  figures.busy.add(busy.rate.value, alone.rate.value);
  figures.busy_equal.add(equal.rate.value, alone.rate.value);
  figures.busy_bare.add(equal.rate.value, bare.rate.value);
  figures.stopped.add(stopped.rate.value, alone.rate.value);
  figures.busy_rates.push_back(busy);
  figures.equal_rates.push_back(equal);
}

void measure_once(const Session& session, const RedisServer& redis, const Options& options, Stock& stock, int run,
                  Figures& figures) {
  const auto say = [&](const Figure& figure, Unit unit) {
    session.progress(fmt::format("run {}/{}: {} {}, {} {}", run + 1, session.runs, figure.label,
                                 format_value(figure.subject.back(), unit), figure.floor_name,
                                 format_value(figure.floor.back(), unit)));
  };
  if (options.wants("export")) {
    take_turns(
        run, figures.out, [&] { return export_bare(redis, options.flow, stock); },
        [&] { return export_by_gateway(redis, options.flow); });
    say(figures.out, Unit::kPerSecond);
  }
  if (options.wants("import")) {
    take_turns(
        run, figures.in, [&] { return import_bare(redis, options.flow, stock); },
        [&] { return import_by_gateway(redis, options.flow, stock); });
    say(figures.in, Unit::kPerSecond);
  }
  if (options.wants("start")) {
    for (std::size_t i = 0; i < std::size(figures.starts); ++i) {
      const HostToHost times = i == 2 ? host_to_host_bare(redis, options.starts, stock)
                                      : host_to_host(redis, options.starts, /*gateways_spin=*/i == 1);
      figures.starts[i].add(times.start.p50_ns, times.round_trip.p50_ns);
      figures.start_times[i].push_back(times.start);
      figures.pings[i].push_back(times.round_trip);
      say(figures.starts[i], Unit::kNanoseconds);
    }
    figures.start_to_bare.add(figures.starts[0].subject.back(), figures.starts[2].subject.back());
  }
  if (options.wants("local")) {
    measure_local(session, redis, options.local_tasks, stock, figures);
    say(figures.busy, Unit::kPerSecond);
    say(figures.stopped, Unit::kPerSecond);
  }
  if (options.wants("passing")) {
    figures.passings.push_back(pass_through(redis, options.passing_tasks, options.flow.payload_bytes));
    session.progress(fmt::format("run {}/{}: {} tasks passed in {:.1f} s", run + 1, session.runs, options.passing_tasks,
                                 figures.passings.back().seconds));
  }
}

// ---- tables

std::vector<const Figure*> measured(const Figures& f) {
  std::vector<const Figure*> all;
  for (const Figure* figure : {&f.out, &f.in, &f.starts[0], &f.start_to_bare, &f.starts[1], &f.starts[2], &f.busy,
                               &f.busy_equal, &f.busy_bare, &f.stopped})
    if (!figure->subject.empty()) all.push_back(figure);
  return all;
}

Table ratios_table(const std::vector<const Figure*>& figures) {
  Table table{"ratio",
              "Against the floor of the same run",
              {{"floor", "floor", Unit::kText},
               {"ratio", "ratio", Unit::kRatio},
               {"ratio_least", "least", Unit::kRatio},
               {"ratio_most", "most", Unit::kRatio},
               {"goal", "goal", Unit::kText}},
              {}};
  for (const Figure* figure : figures) {
    const Spread ratio = figure->ratio();
    table.rows.push_back(
        {figure->key,
         figure->label,
         {std::string(figure->floor_name), ratio.median, ratio.min, ratio.max, std::string(figure->goal)}});
  }
  return table;
}

double median_of(const std::vector<Flow>& flows, double Flow::*member) {
  std::vector<double> values;
  for (const Flow& flow : flows) values.push_back(flow.*member);
  return spread_of(std::move(values)).median;
}

Table rates_table(const Figures& f) {
  Table table{"rates", "Tasks per second", spread_columns("tasks_per_s", "tasks/s", Unit::kPerSecond), {}};
  table.columns.push_back({"own_cpu_ns", "own CPU/task", Unit::kNanoseconds});
  table.columns.push_back({"redis_cpu_ns", "Redis CPU/task", Unit::kNanoseconds});
  const auto row = [&](std::string key, std::string label, const std::vector<double>& rates,
                       const std::vector<Flow>& flows) {
    std::vector<Cell> cells = spread_cells(spread_of(rates));
    if (flows.empty()) {
      cells.resize(cells.size() + 2);
    } else {
      cells.emplace_back(median_of(flows, &Flow::own_cpu_ns));
      cells.emplace_back(median_of(flows, &Flow::redis_cpu_ns));
    }
    table.rows.push_back({std::move(key), std::move(label), std::move(cells)});
  };
  for (const Figure* figure : {&f.out, &f.in, &f.busy, &f.busy_equal, &f.busy_bare, &f.stopped}) {
    if (figure->subject.empty()) continue;
    row(figure->key, figure->label, figure->subject, figure->subject_flow);
    row(std::string(figure->key) + "_floor", "  " + std::string(figure->floor_name), figure->floor, figure->floor_flow);
  }
  return table;
}

Table times_table(const Figures& f) {
  Table table{"latency", "One task at a time, everybody idle in between", percentile_columns(), {}};
  for (std::size_t i = 0; i < std::size(f.starts); ++i) {
    const Figure& figure = f.starts[i];
    table.rows.push_back({figure.key, figure.label, percentile_cells(spread_of(std::span(f.start_times[i])))});
    table.rows.push_back({i == 0 ? "ping" : fmt::format("{}_ping", figure.key), fmt::format("  {}", figure.floor_name),
                          percentile_cells(spread_of(std::span(f.pings[i])))});
  }
  return table;
}

Table memory_table(const Figures& f) {
  Table table{"memory",
              "Memory of the gateways while tasks pass (most of the runs)",
              {{"tasks", "tasks", Unit::kCount},
               {"export_own_bytes", "exporting", Unit::kBytes},
               {"export_all_bytes", "with segment", Unit::kBytes},
               {"import_own_bytes", "importing", Unit::kBytes},
               {"import_all_bytes", "with segment", Unit::kBytes}},
              {}};
  constexpr const char* kNames[] = {"10", "50", "100"};
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    Passing::Sample most;
    for (const Passing& one : f.passings) {
      const Passing::Sample& s = one.samples[i];
      most.tasks = s.tasks;
      for (auto [into, from] : {std::pair{&most.exporting, &s.exporting}, {&most.importing, &s.importing}}) {
        into->own_bytes = std::max(into->own_bytes, from->own_bytes);
        into->all_bytes = std::max(into->all_bytes, from->all_bytes);
      }
    }
    const auto bytes = [](std::uint64_t n) { return Cell(static_cast<double>(n)); };
    table.rows.push_back({fmt::format("at_{}", kNames[i]),
                          fmt::format("after {} %", kNames[i]),
                          {bytes(most.tasks), bytes(most.exporting.own_bytes), bytes(most.exporting.all_bytes),
                           bytes(most.importing.own_bytes), bytes(most.importing.all_bytes)}});
  }
  return table;
}

void add_notes(const Figures& f, Report& report) {
  if (!f.busy_rates.empty()) {
    const auto did = [](const std::vector<LocalRate>& rates) {
      std::vector<double> exported, share;
      for (const LocalRate& one : rates) {
        exported.push_back(one.exported_per_s);
        share.push_back(one.gateway_cpu_share);
      }
      return fmt::format("exported {} and took {:.0f} % of a processor",
                         format_value(spread_of(exported).median, Unit::kPerSecond), 100 * spread_of(share).median);
    };
    report.notes.push_back(
        fmt::format("Local tasks keep two processors busy by themselves; on a machine with no more, whatever runs "
                    "beside them takes from them, so a bare client in the gateway's place stands beside it. The "
                    "gateway {}; with --nice 0 it {}.",
                    did(f.busy_rates), did(f.equal_rates)));
  }
  if (!f.passings.empty()) {
    std::uint64_t left = 0, pending = 0;
    std::vector<double> rates;
    for (const Passing& one : f.passings) {
      left = std::max(left, one.left_in_stream);
      pending = std::max(pending, one.left_pending);
      rates.push_back(static_cast<double>(one.samples.back().tasks) / one.seconds);
    }
    report.notes.push_back(
        fmt::format("After the last task {} entries were left in the stream and {} pending; from host to host {}.",
                    left, pending, format_value(spread_of(rates).median, Unit::kPerSecond)));
  }
  report.notes.push_back("Every task ran exactly once; Redis on a Unix socket, persistence off, as for its clients.");
}

Plot picture(const Report& report, const std::vector<const Figure*>& figures) {
  Plot plot;
  plot.title = "Between hosts, each figure ÷ its floor";
  plot.subtitle = fmt::format("{} · {}", report.command_line, report.machine.front().value);
  plot.value_label = "ratio (whiskers: least and most of the runs)";
  plot.value_unit = Unit::kRatio;
  for (const Figure* figure : figures)
    plot.bars.push_back({fmt::format("{} ÷ {}", figure->label, figure->floor_name), figure->ratio(), true});
  return plot;
}

void run(Session& session, const Options& options) {
  if (const std::string missing = federation_missing(); !missing.empty()) throw Failure(missing);
  const RedisServer redis;
  Stock stock(redis, options.flow);
  Figures figures;
  for (int i = 0; i < session.runs; ++i) measure_once(session, redis, options, stock, i, figures);
  Report& report = session.report;
  report.settings.emplace_back("tasks", std::to_string(options.flow.tasks));
  report.settings.emplace_back("payload_bytes", std::to_string(options.flow.payload_bytes));
  const std::vector<const Figure*> all = measured(figures);
  if (!all.empty()) report.tables.push_back(ratios_table(all));
  Table rates = rates_table(figures);
  if (!rates.rows.empty()) report.tables.push_back(std::move(rates));
  if (!figures.start_times[0].empty()) report.tables.push_back(times_table(figures));
  if (!figures.passings.empty()) report.tables.push_back(memory_table(figures));
  add_notes(figures, report);
  if (!all.empty()) report.plot = picture(report, all);
}

}  // namespace

CommandBody declare_federation(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--tasks", options->flow.tasks, "tasks of each export and import")
      ->check(CLI::Range(std::uint64_t{2000}, std::uint64_t{8} << 20))
      ->capture_default_str();
  app.add_option("--payload-bytes", options->flow.payload_bytes, "bytes of each task")
      ->check(CLI::Range(kLeastFederationPayloadBytes, std::uint32_t{1} << 16))
      ->capture_default_str();
  app.add_option("--starts", options->starts, "tasks sent from host to host one at a time")
      ->check(CLI::Range(10, 1'000'000))
      ->capture_default_str();
  app.add_option("--local-tasks", options->local_tasks, "tasks of each local figure")
      ->check(CLI::Range(std::uint64_t{10'000}, std::uint64_t{1} << 32))
      ->capture_default_str();
  app.add_option("--passing-tasks", options->passing_tasks, "tasks that pass while memory is looked at")
      ->check(CLI::Range(std::uint64_t{1000}, std::uint64_t{1} << 32))
      ->capture_default_str();
  app.add_option("--only", options->only, "measure this one only (repeat)")
      ->check(CLI::IsMember(std::vector<std::string>(std::begin(kFigures), std::end(kFigures))));
  return [options](Session& session) { run(session, *options); };
}

}  // namespace stem::bench
