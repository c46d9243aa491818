// stem-chaos: kills and stops everybody at random, under load, and accounts for every task.
#include <fmt/format.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/chaos/arena.hpp"

namespace stem::chaos {
namespace {

std::string text(const Options& o, const Report& r) {
  const Account& a = r.account;
  std::string out;
  const auto line = [&out](const std::string& s) { out += s + "\n"; };
  const std::uint64_t kills = r.kills[0] + r.kills[1] + r.kills[2];
  line(fmt::format("stem-chaos --minutes {} --kills-per-second {} --seed {}: {:.1f} s", o.minutes, o.kills_per_second,
                   o.seed, r.seconds));
  line(fmt::format("processes    {} producers, {} workers, {} keepers; {} worker lives", o.producers, o.workers,
                   o.keepers, a.incarnations));
  line(fmt::format("SIGKILL      {} ({} producers, {} workers, {} keepers; {} of them while stopped)", kills,
                   r.kills[0], r.kills[1], r.kills[2], r.kills_while_stopped));
  line(fmt::format("SIGSTOP      {} ({} producers, {} workers, {} keepers)", r.stops[0] + r.stops[1] + r.stops[2],
                   r.stops[0], r.stops[1], r.stops[2]));
  line(
      fmt::format("tasks        {} offered: {} accepted, {} refused, {} with the producer killed inside enqueue ({} of "
                  "these were there)",
                  a.offered, a.accepted, a.refused, a.uncertain, a.uncertain_there));
  line(fmt::format("acknowledged {} and {} whose worker was killed before it could say so", a.acknowledged,
                   a.unconfirmed));
  line(fmt::format(
      "executions   {} = {} acknowledged + {} retried + {} snoozed + {} refused (lease lost) + {} cut short "
      "by death + {} unaccounted",
      a.executions, a.acknowledged, a.retried, a.snoozed, a.fenced, a.cut_short, a.unaccounted));
  line(
      fmt::format("redelivered  {} leases: {} of running tasks whose worker died, {} lost by silence, the rest not "
                  "started; {} dead letters, {} replays",
                  r.redelivered, a.cut_short, a.fenced, r.dead_added, r.replayed));
  line(fmt::format("counters     enqueued {}, succeeded {}", r.enqueued, r.succeeded));
  for (const std::string& s : r.broken) line("BROKEN       " + s);
  for (const std::string& s : r.sums) line("DIFFERS      " + s);
  for (const std::string& s : a.examples) line("EXAMPLE      " + s);
  if (r.failed_starts != 0) line(fmt::format("ENDED        {} processes ended by themselves", r.failed_starts));
  if (!r.drained) line("NOT DRAINED  tasks were left after a minute without kills");
  if (a.accepted == 0) line("NOTHING      no task was accepted");
  line(fmt::format("lost {}, acknowledged twice {}, invented {}, unaccounted {}", a.lost, a.twice, a.invented,
                   a.unaccounted));
  const bool clean = r.clean() && a.accepted != 0;
  line(clean ? "lost 0, unaccounted 0" : "NOT CLEAN");
  return out;
}

nlohmann::json json(const Options& o, const Report& r) {
  const Account& a = r.account;
  return {{"seed", o.seed},
          {"seconds", r.seconds},
          {"kills", {{"producers", r.kills[0]}, {"workers", r.kills[1]}, {"keepers", r.kills[2]}}},
          {"stops", {{"producers", r.stops[0]}, {"workers", r.stops[1]}, {"keepers", r.stops[2]}}},
          {"accepted", a.accepted},
          {"refused", a.refused},
          {"uncertain", a.uncertain},
          {"uncertain_there", a.uncertain_there},
          {"acknowledged", a.acknowledged},
          {"unconfirmed", a.unconfirmed},
          {"executions", a.executions},
          {"retried", a.retried},
          {"snoozed", a.snoozed},
          {"fenced", a.fenced},
          {"cut_short", a.cut_short},
          {"redelivered", r.redelivered},
          {"dead_letters", r.dead_added},
          {"lost", a.lost},
          {"twice", a.twice},
          {"invented", a.invented},
          {"unaccounted", a.unaccounted},
          {"broken", r.broken},
          {"differs", r.sums},
          {"drained", r.drained},
          {"clean", r.clean() && a.accepted != 0}};
}

int run(const Options& options) {
  Arena arena(options);
  const Report report = arena.run();
  const std::string words = text(options, report);
  std::fputs(words.c_str(), stdout);
  ::mkdir(options.output.c_str(), 0755);
  std::ofstream(options.output + "/report.txt") << words;
  std::ofstream(options.output + "/report.json") << json(options, report).dump(2) << "\n";
  const bool clean = report.clean() && report.account.accepted != 0;
  if (!clean && options.canary == Canary::kNone) {
    std::printf("segment and ledgers are kept in %s\n", arena.directory().c_str());
    arena.keep_directory();
  }
  return clean ? 0 : 1;
}

}  // namespace
}  // namespace stem::chaos

int main(int argc, char** argv) {
  stem::chaos::Options options;
  CLI::App app{"Kills and stops producers, workers and keepers at random, and accounts for every task"};
  app.add_option("--minutes", options.minutes, "how long to kill")->check(CLI::PositiveNumber);
  app.add_option("--kills-per-second", options.kills_per_second, "SIGKILLs and SIGSTOPs together")
      ->check(CLI::PositiveNumber);
  app.add_option("--stop-share", options.stop_share, "how many of these are SIGSTOPs")->check(CLI::Range(0.0, 1.0));
  app.add_option("--seed", options.seed, "for who is struck, and when");
  app.add_option("--producers", options.producers)->check(CLI::Range(1, 32));
  app.add_option("--workers", options.workers)->check(CLI::Range(1, 32));
  app.add_option("--keepers", options.keepers)->check(CLI::Range(1, 8));
  app.add_option("--tasks-per-second", options.tasks_per_second)->check(CLI::PositiveNumber);
  app.add_option("--output", options.output, "directory for report.txt and report.json");
  const std::map<std::string, stem::chaos::Canary> canaries{{"lose-leases", stem::chaos::Canary::kLoseLeases},
                                                            {"ignore-fence", stem::chaos::Canary::kIgnoreFence},
                                                            {"run-twice", stem::chaos::Canary::kRunTwice},
                                                            {"forget-accepted", stem::chaos::Canary::kForgetAccepted}};
  app.add_option("--break", options.canary, "leave out one step, to see that the account notices")
      ->transform(CLI::CheckedTransformer(canaries));
  CLI11_PARSE(app, argc, argv);
  return stem::chaos::run(options);
}
