// stem-bench: measures this machine, Stem and its peers. A subcommand is a file; the table names it.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/command.hpp"
#include "bench/failure.hpp"
#include "stem/version.hpp"

namespace stem::bench {
namespace {

constexpr Command kCommands[] = {
    {"floor", "what this machine can do at best now: hand-off, bare ring, futex wake, clocks", declare_floor},
    {"throughput", "the full life of tasks that do nothing, beside the bare ring", declare_throughput},
    {"latency", "one task at a time: until it starts, until its result is back, how late it starts", declare_latency},
    {"recovery", "a worker dies in the middle of a task: until it starts in another", declare_recovery},
    {"depth", "cost of a task with a thousand to four million queued", declare_depth},
    {"fanin", "1 to 32 producer processes, one worker", declare_fanin},
    {"payload", "payloads of 16 bytes to 1 MiB, copied in and in place, beside memcpy", declare_payload},
    {"memory", "bytes behind each queued task, and the time to attach", declare_memory},
    {"io", "coroutine handlers: memory, file reads, echo, switches and wake-ups, beside bare loops", declare_io},
    {"federation", "tasks between hosts through Redis, beside a bare Redis client", declare_federation},
    {"journal", "queues that survive the host, beside the bare disk and peers that write to it", declare_journal},
    {"peers", "the same work through Redis lists, Redis Streams, beanstalkd, BullMQ and Celery", declare_peers},
};

// Above this much CPU time taken by others, whole rates and tails say more about them than about us.
constexpr double kBusyPercent = 5;

struct CommonOptions {
  int runs = 5;
  std::vector<int> cpus;
  std::string json_path;
  std::string plot_path;
};

void declare_common(CLI::App& app, CommonOptions& options) {
  app.add_option("--runs", options.runs, "repetitions; medians over them are quoted")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--cpus", options.cpus, "the two CPUs to pin to, as A,B (default: the first two allowed)")
      ->delimiter(',')
      ->expected(2);
  app.add_option("--json", options.json_path, "write the figures as JSON; with - the tables go to stderr");
  app.add_option("--plot", options.plot_path, "write a picture (SVG)");
}

// Quoted where a shell would need it, so that the line can be pasted.
std::string command_line_of(int argc, char** argv) {
  std::string line = "stem-bench";
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool plain = !word.empty() && word.find_first_of(" \t\n'\"\\$&|;<>()*?[]#~`!{}") == std::string::npos;
    if (plain) {
      line += " " + word;
      continue;
    }
    line += " '";
    for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += "'";
  }
  return line;
}

CpuPair choose_cpus(const std::vector<int>& wanted) {
  const std::vector<int> allowed = allowed_cpus();
  if (wanted.empty()) {
    if (allowed.size() < 2) throw Failure("two CPUs are needed, and this process may run on one only");
    return {allowed[0], allowed[1]};
  }
  for (const int cpu : wanted) {
    if (std::find(allowed.begin(), allowed.end(), cpu) == allowed.end()) {
      throw CLI::ValidationError("--cpus", fmt::format("CPU {} is not one this process may run on", cpu));
    }
  }
  if (wanted[0] == wanted[1]) throw CLI::ValidationError("--cpus", "the two CPUs must differ");
  return {wanted[0], wanted[1]};
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) fail_with_errno("write " + path);
}

void run_command(const Command& command, const CommandBody& body, const CommonOptions& options,
                 std::string command_line) {
  std::FILE* people = options.json_path == "-" ? stderr : stdout;
  Session session;
  session.runs = options.runs;
  session.cpus = choose_cpus(options.cpus);
  session.progress = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  Report& report = session.report;
  report.command = command.name;
  report.command_line = std::move(command_line);
  report.machine = machine_facts();
  report.settings = {{"runs", std::to_string(session.runs)},
                     {"cpus", fmt::format("{},{}", session.cpus.first, session.cpus.second)}};

  const CpuWatch watch;
  body(session);
  const CpuWatch::Use use = watch.use();
  report.notes.push_back(
      fmt::format("CPU time taken by other programs meanwhile: {:.1f} %, by the hypervisor: {:.1f} %.",
                  use.others_percent, use.steal_percent));
  if (use.others_percent > kBusyPercent) {
    report.notes.push_back(
        "THIS MACHINE WAS BUSY: only medians (p50) and steady rates mean something; for the rest "
        "measure again when it is quiet.");
  }
  report.settings.emplace_back("others_percent", fmt::format("{:.1f}", use.others_percent));
  report.settings.emplace_back("steal_percent", fmt::format("{:.1f}", use.steal_percent));

  fmt::print(people, "{}{}", header_text(report), tables_text(report));
  if (!options.plot_path.empty()) {
    if (!report.plot) throw Failure(fmt::format("{} has no picture", command.name));
    write_file(options.plot_path, draw_svg(*report.plot));
  }
  if (options.json_path.empty()) return;
  const std::string json = to_json(report).dump(2) + "\n";
  if (options.json_path == "-") {
    fmt::print("{}", json);
  } else {
    write_file(options.json_path, json);
  }
}

int main_with(int argc, char** argv) {
  CLI::App app(
      "Measures this machine, Stem and its peers, and prints each figure beside the floor "
      "measured in the same run.",
      "stem-bench");
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  CommonOptions options;
  struct Declared {
    const Command* command;
    CLI::App* app;
    CommandBody body;
  };
  std::vector<Declared> declared;
  for (const Command& command : kCommands) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    declare_common(*sub, options);
    declared.push_back({&command, sub, command.declare(*sub)});
  }
  try {
    app.parse(argc, argv);
    for (const Declared& one : declared) {
      if (one.app->parsed()) run_command(*one.command, one.body, options, command_line_of(argc, argv));
    }
  } catch (const CLI::Success& wanted) {  // --help, --version
    return app.exit(wanted);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return kExitUsage;
  } catch (const std::exception& error) {
    fmt::print(stderr, "stem-bench: {}\n", error.what());
    return kExitFailed;
  }
  return kExitOk;
}

}  // namespace
}  // namespace stem::bench

int main(int argc, char** argv) {
  stem::bench::catch_interrupts();
  return stem::bench::main_with(argc, argv);
}
