#include "tools/stem/help.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "stem/version.hpp"
#include "tools/stem/command_table.hpp"

namespace stem::cli {
namespace {

constexpr std::size_t kNarrowest = 60;
constexpr std::size_t kWidest = 100;

std::size_t text_width() {
  const std::size_t columns = terminal_width();
  return columns == 0 ? kWidest : std::clamp(columns, kNarrowest, kWidest);
}

// Names in one column, what they are in the next.
using Rows = std::vector<std::pair<std::string, std::string>>;

std::size_t widest_name(const Rows& rows) {
  std::size_t widest = 0;
  for (const auto& [name, text] : rows) widest = std::max(widest, display_width(name));
  return widest;
}

std::string two_columns(const Rows& rows, std::size_t name_width, const Style& style) {
  // A name much longer than the rest stands on a line of its own.
  const std::size_t column = std::min<std::size_t>(name_width, 34);
  const std::size_t indent = 2 + column + 2;
  std::string out;
  for (const auto& [name, text] : rows) {
    const std::size_t width = display_width(name);
    out += "  " + style.paint(Tone::kBold, name);
    out += width > column ? "\n" + std::string(indent, ' ') : std::string(column - width + 2, ' ');
    out += wrapped(text, text_width() - indent, indent) + "\n";
  }
  return out;
}

std::string section(std::string_view title, const Style& style) {
  return fmt::format("\n{}\n", style.paint(Tone::kHeading, title));
}

Rows rows_of_group(Group group) {
  Rows rows;
  for (const Command& command : command_table()) {
    if (command.group != group) continue;
    const std::string first(command.path.substr(0, command.path.find(' ')));
    const bool nested = first.size() != command.path.size();
    const bool seen = std::any_of(rows.begin(), rows.end(), [&](const auto& row) { return row.first == first; });
    if (!seen) rows.emplace_back(first, nested ? noun_help(first) : command.help);
  }
  return rows;
}

Rows option_rows(const CommandLine& line, bool positional, bool common) {
  Rows rows;
  for (const OptionInfo& info : line.options()) {
    if (info.positional != positional || info.common != common) continue;
    std::string name;
    for (const std::string& one : info.name_list()) name += (name.empty() ? "" : ", ") + one;
    if (positional) name = info.names + (info.repeatable ? "..." : "");
    // A long flag lines up below those that have a short form.
    if (!positional && name.starts_with("--")) name = "    " + name;
    if (!positional && !info.value_name.empty()) name += " " + info.value_name;
    std::string text = info.help;
    if (!positional && info.repeatable) text += " (repeat for more)";
    if (!positional && info.required) text += " (required)";
    rows.emplace_back(std::move(name), std::move(text));
  }
  return rows;
}

std::string examples_of(const Command& command, const Style& style) {
  std::size_t widest = 0;
  for (const Example& example : command.examples) {
    if (!example.comment.empty()) widest = std::max(widest, display_width(example.line));
  }
  std::string out;
  for (const Example& example : command.examples) {
    out += fmt::format("  {}", example.line);
    if (!example.comment.empty()) {
      out += std::string(widest - display_width(example.line) + 2, ' ');
      out += style.paint(Tone::kDim, fmt::format("# {}", example.comment));
    }
    out += "\n";
  }
  return out;
}

}  // namespace

std::string overview(const Style& style) {
  std::string out =
      fmt::format("{} {}: a task queue and scheduler in shared memory\n\n", style.paint(Tone::kBold, "stem"), kVersion);
  out += "usage: stem COMMAND [flags]\n";
  std::size_t width = 0;
  std::vector<std::pair<Group, Rows>> groups;
  for (const Group group : {Group::kTasks, Group::kRun, Group::kWatch, Group::kHost, Group::kSetup}) {
    groups.emplace_back(group, rows_of_group(group));
    width = std::max(width, widest_name(groups.back().second));
  }
  for (const auto& [group, rows] : groups) {
    if (!rows.empty()) out += section(heading(group), style) + two_columns(rows, width, style);
  }
  constexpr std::string_view kMore =
      "'stem COMMAND --help' says more. Every command takes --namespace NAME and --config FILE; "
      "commands that read take --json. Exit codes: 0 ok, 1 not found, 2 usage, 3 timed out or no "
      "reply, 70 failed.";
  out += "\n" + wrapped(kMore, text_width(), 0) + "\n";
  return out;
}

std::string noun_overview(std::string_view noun, const Style& style) {
  Rows rows;
  for (const Command* command : commands_below(noun)) {
    rows.emplace_back(command->path, command->help);
  }
  return fmt::format("{}\n\nusage: stem {} COMMAND [flags]\n\n{}", noun_help(noun), noun,
                     two_columns(rows, widest_name(rows), style));
}

std::string usage_line(const Command& command, const CommandLine& line) {
  std::string out = fmt::format("stem {}", command.path);
  for (const OptionInfo& info : line.options()) {
    if (info.positional || !info.required) continue;
    out += fmt::format(" {} {}", info.long_name(), info.value_name);
  }
  for (const OptionInfo& info : line.options()) {
    if (!info.positional) continue;
    const std::string name = info.names + (info.repeatable ? "..." : "");
    out += info.required ? " " + name : " [" + name + "]";
  }
  return out + " [flags]";
}

std::string command_help(const Command& command, const CommandLine& line, const Style& style) {
  std::string out = fmt::format("{}\n\nusage: {}\n", command.help, usage_line(command, line));
  if (!command.details.empty()) {
    out += fmt::format("\n{}\n", wrapped(command.details, text_width(), 0));
  }
  const Rows arguments = option_rows(line, true, false);
  const Rows flags = option_rows(line, false, false);
  Rows common = option_rows(line, false, true);
  common.emplace_back("-h, --help", "show this help");
  const std::size_t width = std::max({widest_name(arguments), widest_name(flags), widest_name(common)});
  if (!arguments.empty()) out += section("Arguments", style) + two_columns(arguments, width, style);
  if (!flags.empty()) out += section("Flags", style) + two_columns(flags, width, style);
  out += section("Common flags", style) + two_columns(common, width, style);
  if (!command.examples.empty()) out += section("Examples", style) + examples_of(command, style);
  return out;
}

}  // namespace stem::cli
