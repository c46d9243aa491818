// `stem config show`: every setting, its value, and who gave it.
#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tools/stem/commands/commands.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/nearest.hpp"
#include "tools/stem/settings.hpp"
#include "tools/stem/table.hpp"

namespace stem::cli {
namespace {

// Read where segments are opened, by programs that know no stem.toml.
constexpr std::string_view kReadBySegments = "STEM_SHM_DIRECTORY";

// Variables that look like ours and that nothing reads: most likely misspelt.
std::vector<std::string> unread_variables() {
  std::vector<std::string> names;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    if (!name.starts_with("STEM_")) continue;
    bool known = name == kReadBySegments;
    for (const Setting& setting : settings()) known = known || setting.environment == name;
    if (!known) names.emplace_back(name);
  }
  return names;
}

void warn_of_unread_variables() {
  std::vector<std::string> known;
  for (const Setting& setting : settings()) {
    if (!setting.environment.empty()) known.emplace_back(setting.environment);
  }
  for (const std::string& name : unread_variables()) {
    print_warning(fmt::format("{} is set, but nothing reads it{}", name, did_you_mean(name, known)));
  }
}

void print_for_programs(const Config& config) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Setting& setting : settings()) {
    const ConfigValue& value = config.value(setting.key);
    nlohmann::ordered_json row{{"key", setting.key}, {"value", nullptr}};
    if (!value.text.empty()) row["value"] = shown_value(setting, value.text);
    row["origin"] = to_string(value.origin);
    row["where"] = value.where;
    row["environment"] = setting.environment;
    row["help"] = setting.help;
    rows.push_back(std::move(row));
  }
  nlohmann::ordered_json document{{"file", nullptr}};
  if (!config.file().empty()) document["file"] = config.file();
  document["settings"] = std::move(rows);
  document["unreadVariables"] = unread_variables();
  print_json(document);
}

void print_for_people(const Config& config, const Style& style) {
  Table table({{"SETTING"}, {"VALUE", Align::kLeft, true}, {"FROM"}, {"VARIABLE"}});
  for (const Setting& setting : settings()) {
    const ConfigValue& value = config.value(setting.key);
    const bool plain = value.origin == Origin::kDefault;
    std::string from(to_string(value.origin));
    // The variable's name has its own column.
    if (!plain && value.origin != Origin::kEnvironment) from += " " + value.where;
    table.add_row({std::string(setting.key),
                   {shown_value(setting, value.text), plain ? Tone::kPlain : Tone::kBold},
                   {from, plain ? Tone::kDim : Tone::kGood},
                   {std::string(setting.environment), Tone::kDim}});
  }
  table.print(style);
  fmt::print("\n{}\n", config.file().empty() ? "No file was read: there is no ./stem.toml, and no --config."
                                             : fmt::format("File: {}", printable(config.file())));
}

int show_config(const Context& context) {
  if (context.json) {
    print_for_programs(context.config);
  } else {
    print_for_people(context.config, context.style);
    warn_of_unread_variables();
  }
  return kExitOk;
}

Run build_config_show(CommandLine&) { return show_config; }

}  // namespace

std::vector<Command> config_commands() {
  return {{.path = "config show",
           .group = Group::kSetup,
           .help = "Every setting, its value, and where the value came from",
           .details = "A flag beats the environment, which beats the file (./stem.toml, or the one that "
                      "--config names), which beats the default. A variable that is set to nothing "
                      "counts as not set. Passwords and keys are not shown.",
           .examples = {{"stem config show", ""}, {"stem config show --config /etc/stem.toml --json", ""}},
           .traits = kReads,
           .build = build_config_show}};
}

}  // namespace stem::cli
