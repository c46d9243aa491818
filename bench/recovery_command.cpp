// stem-bench recovery: a worker dies in the middle of a task; when does the task start elsewhere?
#include <fmt/format.h>

#include <algorithm>

#include "bench/command.hpp"
#include "bench/crash.hpp"

namespace stem::bench {

namespace {

struct Options {
  std::uint64_t kills = 40;
};

struct Case {
  const char* key;
  const char* label;
  CrashPlan plan;
};
constexpr std::uint64_t kMegabyte = 1u << 20;
constexpr Case kCases[] = {
    {"kill_0mb", "SIGKILL, small victim", {Death::kKilled, 0, 0}},
    {"kill_64mb", "SIGKILL, 64 MB victim", {Death::kKilled, 0, 64 * kMegabyte}},
    {"kill_512mb", "SIGKILL, 512 MB victim", {Death::kKilled, 0, 512 * kMegabyte}},
    {"segv_core_64mb", "SIGSEGV with a core dump, 64 MB", {Death::kSegmentation, 0, 64 * kMegabyte}},
};

struct Outcome {
  std::vector<std::uint64_t> ns;       // of all runs
  std::vector<std::uint64_t> bare_ns;  // SIGKILL of a victim of the same size
  std::uint64_t core_files = 0;
};

constexpr std::uint64_t kBareShare = 4;  // the floor needs fewer samples

Outcome measure(const Session& session, const Options& options, const Case& one) {
  Outcome outcome;
  CrashPlan plan = one.plan;
  for (int run = 0; run < session.runs; ++run) {
    plan.deaths = options.kills;
    const CrashTimes times = redelivery_times(plan);
    outcome.ns.insert(outcome.ns.end(), times.ns.begin(), times.ns.end());
    outcome.core_files += times.core_files;
    plan.deaths = std::max<std::uint64_t>(options.kills / kBareShare, 1);
    const std::vector<std::uint64_t> bare = bare_death_times(plan);
    outcome.bare_ns.insert(outcome.bare_ns.end(), bare.begin(), bare.end());
    session.progress(fmt::format("run {}/{}: {}", run + 1, session.runs, one.label));
  }
  return outcome;
}

std::vector<Cell> cells_of(const Percentiles& p, double floor_ns) {
  std::vector<Cell> cells = {p.p50_ns, p.p90_ns, p.p99_ns, p.max_ns, static_cast<double>(p.count)};
  if (floor_ns > 0) {
    cells.emplace_back(floor_ns);
    cells.emplace_back(p.p50_ns / floor_ns);
  } else {
    cells.insert(cells.end(), {Cell(), Cell()});
  }
  return cells;
}

void run(Session& session, const Options& options) {
  Report& report = session.report;
  report.settings.emplace_back("kills", fmt::format("{} a run", options.kills));
  Table table{"recovery",
              "From the death of a worker process to the start of its task in another",
              {{"p50_ns", "p50", Unit::kNanoseconds},
               {"p90_ns", "p90", Unit::kNanoseconds},
               {"p99_ns", "p99", Unit::kNanoseconds},
               {"max_ns", "max", Unit::kNanoseconds},
               {"deaths", "deaths", Unit::kCount},
               {"floor_p50_ns", "bare signal", Unit::kNanoseconds},
               {"ratio_p50", "× bare", Unit::kRatio}},
              {}};
  Plot plot;
  plot.title = "A worker process dies: until its task starts in another";
  plot.subtitle = fmt::format("{} · {}", report.command_line, report.machine.front().value);
  plot.value_label = "p50 (whiskers: least and p99)";
  plot.value_unit = Unit::kNanoseconds;
  std::uint64_t core_files = 0;
  for (const Case& one : kCases) {
    Outcome outcome = measure(session, options, one);
    core_files += outcome.core_files;
    const Percentiles p = percentiles_of_ns(outcome.ns);
    const Percentiles bare = percentiles_of_ns(outcome.bare_ns);
    table.rows.push_back({one.key, one.label, cells_of(p, bare.p50_ns)});
    const auto least = static_cast<double>(*std::min_element(outcome.ns.begin(), outcome.ns.end()));
    plot.bars.push_back({one.label, {p.p50_ns, least, p.p99_ns, outcome.ns.size()}, true});
  }
  report.tables.push_back(std::move(table));
  report.notes.push_back(
      "Real supervisor and worker processes, idle ones parked. Bare signal: SIGKILL of a process of the same "
      "size until the waiter on its robust mutex runs.");
  report.notes.push_back(core_files > 0
                             ? fmt::format("{} core files were written meanwhile, and removed.", core_files)
                             : std::string("The system wrote no core file where it could be seen (see core_pattern)."));
  report.plot = std::move(plot);
}

}  // namespace

CommandBody declare_recovery(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--kills", options->kills, "deaths of each case in each run")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  return [options](Session& session) { run(session, *options); };
}

}  // namespace stem::bench
