#include "tools/stem/dispatch.hpp"

#include <fmt/format.h>

#include "base/log.hpp"
#include "stem/version.hpp"
#include "tools/stem/command_table.hpp"
#include "tools/stem/help.hpp"
#include "tools/stem/nearest.hpp"

namespace stem::cli {
namespace {

// The words that name the command, and everything else in its order.
struct Resolved {
  std::string path;
  std::vector<std::string> rest;
  std::string stray;  // the first word that names nothing below `path`
  bool help = false;  // `stem help ...`
};

bool takes_a_value(const std::string& arg) { return arg == "--namespace" || arg == "--config"; }

// Flags may stand before the command's words ("stem --namespace x doctor").
Resolved resolve(const std::vector<std::string>& args) {
  Resolved resolved;
  std::size_t i = 0;
  for (; i < args.size() && !find_command(resolved.path); ++i) {
    const std::string& arg = args[i];
    if (arg == "--") break;
    if (arg.size() > 1 && arg.front() == '-') {
      resolved.rest.push_back(arg);
      if (takes_a_value(arg) && i + 1 < args.size()) resolved.rest.push_back(args[++i]);
      continue;
    }
    if (resolved.path.empty() && !resolved.help && arg == "help") {
      resolved.help = true;
      continue;
    }
    std::string longer = resolved.path.empty() ? arg : resolved.path + " " + arg;
    if (arg.find(' ') != std::string::npos || arg.empty() || commands_below(longer).empty()) {
      resolved.stray = arg.empty() ? "''" : arg;
      break;
    }
    resolved.path = std::move(longer);
  }
  resolved.rest.insert(resolved.rest.end(), args.begin() + static_cast<std::ptrdiff_t>(i), args.end());
  return resolved;
}

bool has_flag(const std::vector<std::string>& args, std::string_view name, std::string_view short_name = "") {
  for (const std::string& arg : args) {
    if (arg == "--") return false;
    if (arg == name || (!short_name.empty() && arg == short_name)) return true;
  }
  return false;
}

int print_help(const std::string& text) {
  fmt::print("{}", text);
  return kExitOk;
}

int usage_error(std::string_view message, std::string_view hint) {
  print_error(message, hint);
  return kExitUsage;
}

// "purge" is near no first word, but it is the last word of "dlq purge".
std::string whole_path_of(std::string_view last_word) {
  for (const Command& command : command_table()) {
    const std::size_t space = command.path.rfind(' ');
    if (space != std::string_view::npos && command.path.substr(space + 1) == last_word) {
      return fmt::format("; did you mean {}?", command.path);
    }
  }
  return "";
}

int unknown_command(const Resolved& resolved) {
  const std::string shown = shortened(resolved.stray, 60);
  std::string guess = did_you_mean(resolved.stray, words_below(resolved.path));
  if (guess.empty() && resolved.path.empty()) guess = whole_path_of(resolved.stray);
  if (resolved.path.empty()) {
    return usage_error(fmt::format("unknown command {}{}", shown, guess), "'stem --help' lists all commands");
  }
  return usage_error(fmt::format("{} has no command {}{}", resolved.path, shown, guess),
                     fmt::format("'stem {} --help' lists its commands", resolved.path));
}

// No command was named in full.
int run_without_command(const Resolved& resolved) {
  if (!resolved.stray.empty()) return unknown_command(resolved);
  const bool help = resolved.help || has_flag(resolved.rest, "--help", "-h");
  if (!resolved.path.empty()) {
    if (help) return print_help(noun_overview(resolved.path, Style::of_stdout()));
    fmt::print(stderr, "{}", noun_overview(resolved.path, Style::of_stderr()));
    return kExitUsage;
  }
  if (has_flag(resolved.rest, "--version")) {
    fmt::print("stem {}\n", kVersion);
    return kExitOk;
  }
  for (const std::string& arg : resolved.rest) {
    if (help) break;
    if (takes_a_value(arg) && resolved.rest.size() > 1) break;
    if (takes_a_value(arg)) return usage_error(fmt::format("{} wants a value", arg), {});
    return usage_error(fmt::format("unknown flag {}{}", shortened(arg, 60),
                                   did_you_mean(arg, {"--help", "--version", "--namespace", "--config"})),
                       "'stem --help' lists all commands");
  }
  return print_help(overview(Style::of_stdout()));
}

Result<void> configure_log(const Config& config) {
  const auto level = log::parse_level(config.text("log.level"));
  if (!level.ok()) return level.error();
  const auto format = log::parse_format(config.text("log.format"));
  if (!format.ok()) return format.error();
  log::configure({*level, *format});
  return {};
}

int run_command(const Command& command, const std::vector<std::string>& args) {
  Assembled assembled;
  assemble(command, assembled);
  const auto parsed = assembled.line.parse(args);
  if (!parsed.ok()) {
    return usage_error(fmt::format("{}: {}", command.path, parsed.error().message),
                       fmt::format("'stem {} --help' explains its flags", command.path));
  }
  if (*parsed == CommandLine::Parsed::kHelp) {
    return print_help(command_help(command, assembled.line, Style::of_stdout()));
  }
  auto config = Config::resolve(assembled.line.given_settings(), assembled.config_file);
  if (!config.ok()) {
    return usage_error(config.error().message, {});
  }
  if (const auto configured = configure_log(*config); !configured.ok()) {
    return usage_error(configured.error().message, {});
  }
  Context context{.config = std::move(*config),
                  .namespace_name = {},
                  .json = assembled.json,
                  .yes = assembled.yes,
                  .dry_run = assembled.dry_run,
                  .style = Style::of_stdout()};
  context.namespace_name = context.config.text("namespace");
  return assembled.run(context);
}

}  // namespace

void assemble(const Command& command, Assembled& assembled) {
  CommandLine& line = assembled.line;
  assembled.run = command.build(line);
  const std::size_t own = line.options().size();
  if ((command.traits & kDestroys) != 0) {
    line.flag("--yes", &assembled.yes, "do it without asking");
    line.flag("--dry-run", &assembled.dry_run, "say what would be done, and change nothing");
  }
  if ((command.traits & kReads) != 0) {
    line.flag("--json", &assembled.json, "print JSON");
  }
  line.setting("--namespace", "namespace");
  line.file("--config", &assembled.config_file, "settings file (default ./stem.toml if it is there)");
  line.mark_common(own);
}

int run_command_line(const std::vector<std::string>& args) {
  Resolved resolved = resolve(args);
  const Command* command = find_command(resolved.path);
  if (command == nullptr) return run_without_command(resolved);
  if (resolved.help) resolved.rest.emplace_back("--help");
  return run_command(*command, resolved.rest);
}

}  // namespace stem::cli
