#include "tools/man/man_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>

#include "stem/version.hpp"
#include "tools/stem/command_table.hpp"
#include "tools/stem/dispatch.hpp"
#include "tools/stem/help.hpp"
#include "tools/stem/settings.hpp"

namespace stem::man {
namespace {

using cli::Command;
using cli::OptionInfo;

constexpr cli::Group kGroups[] = {cli::Group::kTasks, cli::Group::kRun, cli::Group::kWatch, cli::Group::kHost,
                                  cli::Group::kSetup};

// One or two hyphens before a word, after none.
bool begins_flag(std::string_view text, std::size_t at) {
  const auto in_word = [&](std::size_t i) { return std::isalnum(static_cast<unsigned char>(text[i])) != 0; };
  while (at > 0 && text[at - 1] == '-') --at;
  return at == 0 || !in_word(at - 1);
}

// Text as troff prints it unchanged. `literal`: what people type, where a hyphen must stay the one of ASCII and
// quotes must not become curved.
std::string escaped(std::string_view text, bool literal) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\') {
      out += "\\e";
    } else if (c == '\n') {
      out += ' ';
    } else if (c == '-' && (literal || begins_flag(text, i))) {
      out += "\\-";
    } else if (literal && c == '\'') {
      out += "\\(aq";
    } else if (literal && c == '`') {
      out += "\\(ga";
    } else if (literal && c == '^') {
      out += "\\(ha";
    } else if (literal && c == '~') {
      out += "\\(ti";
    } else {
      out += c;
    }
  }
  // A line that begins so would be a request.
  if (out.starts_with('.') || out.starts_with('\'')) out.insert(0, "\\&");
  return out;
}

std::string prose(std::string_view text) { return escaped(text, false); }
std::string literal(std::string_view text) { return escaped(text, true); }
std::string bold(std::string_view text) { return "\\fB" + literal(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + literal(text) + "\\fR"; }

std::string upper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

std::string first_word(std::string_view path) { return std::string(path.substr(0, path.find(' '))); }
std::string page_name(std::string_view word) { return fmt::format("stem-{}", word); }

std::string title(std::string_view name) {
  return fmt::format(".\\\" Made from the command table; see tools/man.\n.TH {} 1 \"\" \"stem {}\" \"Stem\"\n",
                     literal(upper(name)), kVersion);
}

std::string sentence(std::string_view help) { return prose(help) + "."; }

// -q, --queue QUEUE
std::string flag_names(const OptionInfo& info) {
  if (info.positional) return italic(info.names + (info.repeatable ? "..." : ""));
  std::string out;
  for (const std::string& name : info.name_list()) out += (out.empty() ? "" : ", ") + bold(name);
  if (!info.value_name.empty()) out += " " + italic(info.value_name);
  return out;
}

std::string flag(const OptionInfo& info) {
  std::string help = sentence(info.help);
  if (!info.choices.empty()) {
    help += "\nOne of";
    for (const std::string& choice : info.choices) help += " " + bold(choice);
    help += ".";
  }
  if (!info.positional && info.repeatable) help += "\nMay be given more than once.";
  if (!info.positional && info.required) help += "\nRequired.";
  return fmt::format(".TP\n{}\n{}\n", flag_names(info), help);
}

std::string examples(const Command& command) {
  std::string out;
  for (const cli::Example& example : command.examples) {
    out += fmt::format(".PP\n.nf\n.RS\n{}\n.RE\n.fi\n", literal(example.line));
    if (!example.comment.empty()) out += fmt::format(".RS\n({})\n.RE\n", prose(example.comment));
  }
  return out.empty() ? out : ".PP\nExamples:\n" + out;
}

// What a command takes besides the flags that all have.
std::string command_text(const Command& command, const cli::CommandLine& line) {
  std::string out = sentence(command.help) + "\n";
  if (!command.details.empty()) out += ".PP\n" + prose(command.details) + "\n";
  for (const bool positional : {true, false})
    for (const OptionInfo& info : line.options())
      if (info.positional == positional && !info.common) out += flag(info);
  for (const OptionInfo& info : line.options())
    if (info.common && (info.long_name() == "--json" || info.long_name() == "--yes" || info.long_name() == "--dry-run"))
      out += flag(info);
  return out + examples(command);
}

std::string synopsis(const Command& command, const cli::CommandLine& line) {
  std::string usage = cli::usage_line(command, line).substr(std::string_view("stem ").size() + command.path.size());
  return fmt::format("{}{}\n", bold(fmt::format("stem {}", command.path)), literal(usage));
}

constexpr std::string_view kExitStatus =
    ".SH EXIT STATUS\n"
    ".TP\n.B 0\nIt worked.\n"
    ".TP\n.B 1\nThe task, queue or segment named does not exist.\n"
    ".TP\n.B 2\nThe command line, a setting or the settings file is wrong.\n"
    ".TP\n.B 3\nTimed out, or nobody replied.\n"
    ".TP\n.B 70\nIt was tried and did not work.\n";

ManPage page_of_word(const std::string& word) {
  const auto commands = cli::commands_below(word);
  const std::string_view help =
      commands.size() == 1 && commands[0]->path == word ? commands[0]->help : cli::noun_help(word);
  std::string text = title(page_name(word));
  text += fmt::format(".SH NAME\n{} \\- {}\n", literal(page_name(word)), prose(help));
  std::string usages, bodies;
  for (const Command* command : commands) {
    cli::Assembled assembled;
    cli::assemble(*command, assembled);
    usages += (usages.empty() ? "" : ".br\n") + synopsis(*command, assembled.line);
    if (commands.size() > 1) bodies += fmt::format(".SS {}\n", literal("stem " + std::string(command->path)));
    bodies += command_text(*command, assembled.line);
  }
  text += ".SH SYNOPSIS\n" + usages + ".SH DESCRIPTION\n" + bodies;
  text += ".PP\nEvery command also takes " + bold("--namespace") + " " + italic("NAME") + ", " + bold("--config") +
          " " + italic("FILE") + " and " + bold("--help") + "; see " + bold("stem") + "(1).\n";
  text += kExitStatus;
  text += ".SH SEE ALSO\n.BR stem (1)\n";
  return {page_name(word) + ".1", std::move(text)};
}

std::string commands_by_group() {
  std::string out;
  std::vector<std::string> seen;
  for (const cli::Group group : kGroups) {
    out += fmt::format(".SS {}\n", prose(cli::heading(group)));
    for (const Command& command : cli::command_table()) {
      const std::string word = first_word(command.path);
      if (command.group != group || std::find(seen.begin(), seen.end(), word) != seen.end()) continue;
      seen.push_back(word);
      const std::string_view help = command.path == word ? command.help : cli::noun_help(word);
      out += fmt::format(".TP\n.BR {} (1)\n{}\n", literal(page_name(word)), sentence(help));
    }
  }
  return out;
}

std::string environment() {
  std::string out =
      ".SH ENVIRONMENT\n"
      "A flag beats the environment, which beats the settings file, which beats the default.\n";
  for (const cli::Setting& setting : cli::settings()) {
    if (setting.environment.empty()) continue;
    out += fmt::format(".TP\n{}\n{} (setting {}", bold(setting.environment), prose(setting.help), bold(setting.key));
    if (!setting.default_text.empty()) out += fmt::format(", default {}", literal(setting.default_text));
    out += ").\n";
  }
  out += fmt::format(".TP\n{}\nWhere segments are (default {}).\n", bold("STEM_SHM_DIRECTORY"),
                     literal("/dev/shm/stem-UID"));
  return out;
}

ManPage main_page() {
  std::string text = title("stem");
  text += ".SH NAME\nstem \\- a task queue and scheduler in shared memory\n";
  text += ".SH SYNOPSIS\n" + bold("stem") + " " + italic("COMMAND") + " [flags]\n";
  text +=
      ".SH DESCRIPTION\n"
      "Any process of a host enqueues by writing into a mapped segment; pinned worker processes claim, run and\n"
      "acknowledge. When one of them is killed, what it held runs elsewhere, and nothing is lost. A gateway on each\n"
      "host joins several through Redis.\n" +
      commands_by_group();
  text += ".SH COMMON FLAGS\n";
  cli::Assembled assembled;
  cli::assemble(Command{.path = "",
                        .help = "",
                        .traits = cli::kReads | cli::kDestroys,
                        .build = [](cli::CommandLine&) -> cli::Run { return {}; }},
                assembled);
  for (const OptionInfo& info : assembled.line.options()) text += flag(info);
  text += kExitStatus;
  text += environment();
  text += ".SH FILES\n.TP\n" + literal("/dev/shm/stem-UID/") + "\nThe segments of a user.\n.TP\n" +
          literal("./stem.toml") + "\nSettings; " + bold("stem config show") + " says where each came from.\n";
  return {"stem.1", std::move(text)};
}

}  // namespace

std::vector<ManPage> man_pages() {
  std::vector<ManPage> pages{main_page()};
  for (const std::string& word : cli::words_below("")) pages.push_back(page_of_word(word));
  return pages;
}

}  // namespace stem::man
