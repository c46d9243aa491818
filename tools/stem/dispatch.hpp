// From words to a running command.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/stem/command.hpp"

namespace stem::cli {

// Finds the command, parses its flags, resolves the settings, runs it. Returns the exit code.
int run_command_line(const std::vector<std::string>& args);

// The flags that a command has, its own and the frame's, and what it will run.
struct Assembled {
  CommandLine line;
  std::optional<std::string> config_file;
  bool json = false;
  bool yes = false;
  bool dry_run = false;
  Run run;
};

// In place, because the parser keeps pointers into it.
void assemble(const Command& command, Assembled& assembled);

}  // namespace stem::cli
