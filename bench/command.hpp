// A subcommand of stem-bench: one file each, named in the table of main.cpp.
//
// To add one: write bench/NAME_command.cpp with a function `CommandBody declare_NAME(CLI::App&)` that adds
// its own options and returns what to run, declare it below, and add a line to the table. The frame adds
// --runs, --cpus, --json and --plot, prints the header, the tables and the notes, and writes the files.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "bench/processes.hpp"
#include "bench/report.hpp"

namespace stem::bench {

inline constexpr int kExitOk = 0;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitFailed = 70;

// What a command gets from the frame, and what it fills: `report.tables`, `.notes`, `.settings`, `.plot`.
struct Session {
  int runs = 5;
  CpuPair cpus;
  Report report;
  std::function<void(const std::string&)> progress;  // a line that a person may like to see meanwhile
};

// Throws Failure when the machine refuses or the measurement cannot be trusted.
using CommandBody = std::function<void(Session&)>;

struct Command {
  const char* name;
  const char* summary;
  CommandBody (*declare)(CLI::App& app);
};

CommandBody declare_floor(CLI::App& app);
CommandBody declare_throughput(CLI::App& app);
CommandBody declare_latency(CLI::App& app);
CommandBody declare_recovery(CLI::App& app);
CommandBody declare_depth(CLI::App& app);
CommandBody declare_fanin(CLI::App& app);
CommandBody declare_payload(CLI::App& app);
CommandBody declare_memory(CLI::App& app);
CommandBody declare_io(CLI::App& app);
CommandBody declare_federation(CLI::App& app);
CommandBody declare_journal(CLI::App& app);
CommandBody declare_peers(CLI::App& app);

}  // namespace stem::bench
