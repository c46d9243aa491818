#include "tools/stem/command_table.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "tools/stem/commands/commands.hpp"

namespace stem::cli {
namespace {

// The order within a group is the order of help.
std::vector<Command> all_commands() {
  std::vector<Command> table;
  for (const auto& rows :
       {worker_start_commands(), worker_status_commands(), worker_control_commands(), gateway_commands(),
        engine_commands(), observe_federation_commands(), dashboard_commands(), doctor_commands(), capacity_commands(),
        init_app_commands(), config_commands(), completion_commands(), version_commands()}) {
    table.insert(table.end(), rows.begin(), rows.end());
  }
  return table;
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kNouns{{
    {"task", "Show, await, revoke and retry tasks"},
    {"queue", "Pause, resume, purge and limit queues"},
    {"dlq", "List, replay and purge dead letters"},
    {"worker", "Start, watch and steer workers"},
    {"beat", "Fire schedules"},
    {"gateway", "Join other hosts through Redis"},
    {"schedule", "Apply, list and try schedules"},
    {"observe", "Figures of queues, workers, tasks and the rest"},
    {"segment", "Look into, prove and remove segments"},
    {"journal", "What survives the host: look, prove, compact, repair"},
    {"config", "Settings and where they come from"},
    {"completion", "Completion scripts for bash, zsh and fish"},
}};

bool is_at_or_below(std::string_view command, std::string_view path) {
  return path.empty() || command == path || (command.starts_with(path) && command[path.size()] == ' ');
}

}  // namespace

const std::vector<Command>& command_table() {
  static const std::vector<Command> table = all_commands();
  return table;
}

std::string_view noun_help(std::string_view noun) {
  const auto it = std::find_if(kNouns.begin(), kNouns.end(), [&](const auto& row) { return row.first == noun; });
  return it == kNouns.end() ? "" : it->second;
}

std::string_view heading(Group group) {
  switch (group) {
    case Group::kTasks: return "Tasks and queues";
    case Group::kRun: return "Running";
    case Group::kWatch: return "Watching";
    case Group::kHost: return "This host";
    case Group::kSetup: return "Setup";
  }
  return "";
}

const Command* find_command(std::string_view path) {
  const auto& table = command_table();
  const auto it =
      std::find_if(table.begin(), table.end(), [&](const Command& command) { return command.path == path; });
  return it == table.end() ? nullptr : &*it;
}

std::vector<const Command*> commands_below(std::string_view path) {
  std::vector<const Command*> found;
  for (const Command& command : command_table()) {
    if (is_at_or_below(command.path, path)) found.push_back(&command);
  }
  return found;
}

std::vector<std::string> words_below(std::string_view path) {
  std::vector<std::string> words;
  for (const Command* command : commands_below(path)) {
    if (command->path == path) continue;
    const std::string_view rest = command->path.substr(path.empty() ? 0 : path.size() + 1);
    std::string word(rest.substr(0, rest.find(' ')));
    if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(std::move(word));
  }
  return words;
}

}  // namespace stem::cli
