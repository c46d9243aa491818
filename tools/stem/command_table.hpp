// Every command of `stem`, by name. Help, completion and "did you mean" are all made from this table.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/stem/command.hpp"

namespace stem::cli {

const std::vector<Command>& command_table();

// One line about the first word of nested commands ("worker"); empty for an unknown one.
std::string_view noun_help(std::string_view noun);

std::string_view heading(Group group);

// The command of exactly this path, or nullptr.
const Command* find_command(std::string_view path);

// The distinct next words below a path ("" gives the first words), in table order.
std::vector<std::string> words_below(std::string_view path);

// The commands at or below a path.
std::vector<const Command*> commands_below(std::string_view path);

}  // namespace stem::cli
