// Help text, made from the command table and the declared flags.
#pragma once

#include <string>
#include <string_view>

#include "tools/stem/command.hpp"
#include "tools/stem/terminal.hpp"

namespace stem::cli {

// `stem --help`: all commands by group.
std::string overview(const Style& style);

// `stem worker --help`: the commands below a first word.
std::string noun_overview(std::string_view noun, const Style& style);

// `stem capacity --help`.
std::string command_help(const Command& command, const CommandLine& line, const Style& style);

// "stem capacity --rate RATE --duration DURATION [flags]"
std::string usage_line(const Command& command, const CommandLine& line);

}  // namespace stem::cli
