// A command is a file under commands/; it gives its rows of the command table as Command values.
//
//   Run build_ping(CommandLine& line) {
//     auto options = std::make_shared<PingOptions>();
//     line.duration("--timeout", &options->timeout_ns, "how long to wait for an answer");
//     return [options](const Context& context) { return ping(*options, context); };
//   }
//   std::vector<Command> ping_commands() {
//     return {{.path = "worker ping", .group = Group::kRun, .help = "Ask workers for a sign of life",
//              .examples = {{"stem worker ping", "every worker"}}, .traits = kReads,
//              .build = build_ping}};
//   }
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "tools/stem/command_line.hpp"
#include "tools/stem/context.hpp"
#include "tools/stem/exit_code.hpp"

namespace stem::cli {

// Headings of `stem --help`, in this order.
enum class Group { kTasks, kRun, kWatch, kHost, kSetup };

// Flags that the frame adds, so that they are the same everywhere.
enum Trait : unsigned {
  kReads = 1U << 0,     // --json
  kDestroys = 1U << 1,  // --yes and --dry-run; ask with consent.hpp before acting
};

struct Example {
  std::string_view line;     // can be pasted into a shell
  std::string_view comment;  // may be empty
};

// Does the work; returns an exit code of exit_code.hpp.
using Run = std::function<int(const Context&)>;

struct Command {
  std::string_view path;  // "doctor", "dlq list"
  Group group = Group::kTasks;
  std::string_view help;          // one line, no full stop
  std::string_view details = {};  // a paragraph for --help
  std::vector<Example> examples = {};
  unsigned traits = 0;
  // Declares flags and arguments; called before parsing, and for help and completion, so it must
  // touch nothing outside.
  Run (*build)(CommandLine& line) = nullptr;
};

}  // namespace stem::cli
