#include "tools/stem/completion.hpp"

#include <algorithm>
#include <set>

#include "tools/stem/command_table.hpp"
#include "tools/stem/dispatch.hpp"

namespace stem::cli {
namespace {

const OptionInfo* find_flag(const std::vector<OptionInfo>& options, std::string_view name) {
  for (const OptionInfo& info : options) {
    const auto names = info.name_list();
    if (std::find(names.begin(), names.end(), name) != names.end()) return &info;
  }
  return nullptr;
}

bool takes_value(const OptionInfo* info) { return info != nullptr && !info->value_name.empty(); }

// Where the word being typed stands.
struct Place {
  std::string path;                  // the command's words so far
  const OptionInfo* flag = nullptr;  // whose value is being typed
  std::size_t arguments = 0;         // that stand before it
  bool only_arguments = false;       // "--" stands before it
  std::set<std::string> given;       // flags
};

// The flags that every command has, for the time before a command is named.
const std::vector<OptionInfo>& flags_without_command() {
  static const std::vector<OptionInfo> flags = [] {
    std::vector<OptionInfo> common;
    Assembled assembled;
    assemble(Command{.path = "", .help = "", .build = [](CommandLine&) -> Run { return {}; }}, assembled);
    common = assembled.line.options();
    common.push_back({.names = "--version", .value_name = "", .help = "print the version"});
    return common;
  }();
  return flags;
}

Place walk(const std::vector<std::string>& words, const std::vector<OptionInfo>*& options, Assembled& assembled) {
  Place place;
  options = &flags_without_command();
  bool whole = false;  // the path names a command
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (!place.only_arguments && word == "--") {
      place.only_arguments = true;
    } else if (!place.only_arguments && word.size() > 1 && word.front() == '-') {
      const OptionInfo* flag = find_flag(*options, word);
      if (flag != nullptr) place.given.insert(flag->names);
      if (!takes_value(flag)) continue;
      if (i + 2 == words.size()) place.flag = flag;
      ++i;
    } else if (whole) {
      ++place.arguments;
    } else if (i == 0 && word == "help") {
      continue;  // stem help COMMAND
    } else {
      place.path += (place.path.empty() ? "" : " ") + word;
      if (const Command* command = find_command(place.path)) {
        whole = true;
        assemble(*command, assembled);
        options = &assembled.line.options();
      }
    }
  }
  return place;
}

void add(Candidates& found, std::string_view typed, const std::string& word, const std::string& help = "") {
  if (word.starts_with(typed)) found.words.push_back({word, help});
}

// `before` is what stands before the value in the same word ("--mode=").
void add_values(Candidates& found, std::string_view typed, const OptionInfo& info, const std::string& before) {
  for (const std::string& choice : info.choices) add(found, typed, before + choice);
  found.files = info.completes == Completes::kFiles;
}

void add_flags(Candidates& found, std::string_view typed, const std::vector<OptionInfo>& options,
               const std::set<std::string>& given) {
  for (const OptionInfo& info : options) {
    if (info.positional || (given.contains(info.names) && !info.repeatable)) continue;
    add(found, typed, info.long_name(), info.help);
  }
  add(found, typed, "--help", "show this help");
}

void add_argument(Candidates& found, std::string_view typed, const std::vector<OptionInfo>& options,
                  std::size_t position) {
  for (const OptionInfo& info : options) {
    if (!info.positional) continue;
    if (position == 0 || info.repeatable) return add_values(found, typed, info, "");
    --position;
  }
}

}  // namespace

Candidates complete(const std::vector<std::string>& words) {
  Candidates found;
  const std::string typed = words.empty() ? "" : words.back();
  Assembled assembled;
  const std::vector<OptionInfo>* options = nullptr;
  const Place place = walk(words, options, assembled);
  if (place.flag != nullptr) {
    add_values(found, typed, *place.flag, "");
    return found;
  }
  if (!place.only_arguments && typed.starts_with('-')) {
    const std::size_t equals = typed.find('=');
    if (equals == std::string::npos) {
      add_flags(found, typed, *options, place.given);
    } else if (const auto* flag = find_flag(*options, typed.substr(0, equals)); takes_value(flag)) {
      add_values(found, typed, *flag, typed.substr(0, equals + 1));
    }
    return found;
  }
  if (find_command(place.path) != nullptr) {
    add_argument(found, typed, *options, place.arguments);
    return found;
  }
  for (const std::string& word : words_below(place.path)) {
    const std::string path = place.path.empty() ? word : place.path + " " + word;
    const Command* command = find_command(path);
    add(found, typed, word, std::string(command != nullptr ? command->help : noun_help(path)));
  }
  return found;
}

}  // namespace stem::cli
