#include "stem/version.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tools/stem/commands/commands.hpp"
#include "tools/stem/json_output.hpp"

namespace stem::cli {
namespace {

int print_version(const Context& context) {
  if (context.json) {
    print_json({{"version", kVersion}, {"compiler", "g++ " __VERSION__}});
  } else {
    fmt::print("stem {}\n", kVersion);
  }
  return kExitOk;
}

Run build_version(CommandLine&) { return print_version; }

}  // namespace

std::vector<Command> version_commands() {
  return {{.path = "version",
           .group = Group::kSetup,
           .help = "Print the version",
           .traits = kReads,
           .build = build_version}};
}

}  // namespace stem::cli
