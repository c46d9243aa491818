// stem-simulate: histories of a cluster from seeds, in virtual time. A seed that goes wrong says how to see it again.
#include <fmt/format.h>
#include <sys/resource.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>

#include "base/log.hpp"
#include "tests/simulation/cluster.hpp"
#include "tests/support/scratch.hpp"

namespace {

using stem::simulation::Outcome;

constexpr std::uint64_t kMostWrong = 5;

void show(const Outcome& outcome) {
  fmt::print("seed {} ({} weather): {}\n", outcome.seed, outcome.weather, outcome.good() ? "good" : "WRONG");
  for (const std::string& violation : outcome.violations) fmt::print("  {}\n", violation);
}

void show_end(const Outcome& outcome, const std::string& command) {
  fmt::print("the last of it:\n");
  for (const std::string& line : outcome.diary) fmt::print("  {}\n", line);
  fmt::print("again: {} --seed {} --trace\n", command, outcome.seed);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Histories of a federation from seeds, in virtual time"};
  stem::simulation::SimulationOptions options;
  std::string seeds, canary = "none";
  double minutes = 0;
  bool quiet = false;
  app.add_option("--seed", options.seed, "one history");
  app.add_option("--seeds", seeds, "A..B: many");
  app.add_option("--hosts", options.hosts, "instead of what the seed says");
  app.add_option("--tasks", options.tasks_per_host, "of each host, instead of what the seed says");
  app.add_option("--minutes", minutes, "of virtual time with tasks and faults, instead of what the seed says");
  app.add_option("--canary", canary, "with this fault in the core; the seeds must go wrong");
  app.add_flag("--trace", options.trace, "everything that happens");
  app.add_flag("--quiet", quiet, "only the sum");
  CLI11_PARSE(app, argc, argv);
  if (!parse(canary, options.canary)) {
    fmt::print(stderr, "no canary is called {}\n", canary);
    return 2;
  }
  options.producing_ns = static_cast<std::int64_t>(minutes * 60e9);
  std::uint64_t from = options.seed, to = options.seed;
  if (!seeds.empty() && std::sscanf(seeds.c_str(), "%lu..%lu", &from, &to) != 2) {
    fmt::print(stderr, "--seeds wants A..B, not {}\n", seeds);
    return 2;
  }
  rlimit files{};  // each participant has a descriptor of its own
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  stem::log::configure({stem::log::Level::kOff, stem::log::Format::kPretty});
  const stem::test::ScratchDirectory directory;
  options.directory = directory.path();

  const auto start = std::chrono::steady_clock::now();
  Outcome sum;
  std::uint64_t wrong = 0;
  for (options.seed = from; options.seed <= to; ++options.seed) {
    const Outcome outcome = simulate(options);
    if (!outcome.good() || (from == to && !quiet)) show(outcome);
    if (!outcome.good() && wrong++ == 0) show_end(outcome, argv[0]);
    if (wrong == kMostWrong) {
      to = options.seed;
      fmt::print("more would not say more\n");
    }
    sum.events += outcome.events;
    sum.commands += outcome.commands;
    sum.tasks += outcome.tasks;
    sum.faults += outcome.faults;
    sum.lost += outcome.lost;
    sum.repeated += outcome.repeated;
    sum.foreign_ends += outcome.foreign_ends;
    sum.most_over = std::max(sum.most_over, outcome.most_over);
    sum.virtual_ns += outcome.virtual_ns;
    sum.digest ^= outcome.digest;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  fmt::print(
      "{} seeds, {} wrong: {} tasks, {} faults, {} lost as stated, {} ended again, {} ends told of others' entries, at "
      "most {} tasks beyond a host's credit; {} commands, {} events, {:.0f} virtual minutes in {:.1f} s; digest "
      "{:016x}\n",
      to - from + 1, wrong, sum.tasks, sum.faults, sum.lost, sum.repeated, sum.foreign_ends, sum.most_over,
      sum.commands, sum.events, static_cast<double>(sum.virtual_ns) / 60e9, took.count(), sum.digest);
  return wrong == 0 ? 0 : 1;
}
