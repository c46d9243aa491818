// stem-chaos: kills and stops everybody at random, under load, and accounts for every task.
#include <fmt/format.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/chaos/soak.hpp"

namespace stem::chaos {
namespace {

int run(const Options& options) {
  Arena arena(options);
  const nlohmann::json report = to_document(arena.run());
  const std::string words = to_text(fmt::format("stem-chaos --minutes {} --kills-per-second {} --seed {}",
                                                options.minutes, options.kills_per_second, options.seed),
                                    report);
  std::fputs(words.c_str(), stdout);
  ::mkdir(options.output.c_str(), 0755);
  std::ofstream(options.output + "/report.txt") << words;
  std::ofstream(options.output + "/report.json") << report.dump(2) << "\n";
  const bool clean = report.at("clean").get<bool>();
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
  app.add_option("--batch-share", options.batch_share, "how many calls enqueue 2 to 31 tasks")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--slow-share", options.slow_share, "how many handlers take up to 1.5 ms")
      ->check(CLI::Range(0.0, 1.0));
  std::uint64_t soak_tasks = 0;
  app.add_option("--soak", soak_tasks,
                 "rounds of --minutes until so many tasks are accounted for; goes on from OUTPUT/soak.json");
  app.add_option("--output", options.output, "directory for report.txt and report.json");
  const std::map<std::string, stem::chaos::Canary> canaries{{"lose-leases", stem::chaos::Canary::kLoseLeases},
                                                            {"ignore-fence", stem::chaos::Canary::kIgnoreFence},
                                                            {"run-twice", stem::chaos::Canary::kRunTwice},
                                                            {"forget-accepted", stem::chaos::Canary::kForgetAccepted}};
  app.add_option("--break", options.canary, "leave out one step, to see that the account notices")
      ->transform(CLI::CheckedTransformer(canaries));
  CLI11_PARSE(app, argc, argv);
  return soak_tasks != 0 ? stem::chaos::soak(options, soak_tasks) : stem::chaos::run(options);
}
