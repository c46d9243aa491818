// One line a command file: the rows that it gives to the command table.
#pragma once

#include <vector>

#include "tools/stem/command.hpp"

namespace stem::cli {

std::vector<Command> capacity_commands();
std::vector<Command> completion_commands();
std::vector<Command> config_commands();
std::vector<Command> dashboard_commands();
std::vector<Command> doctor_commands();
std::vector<Command> engine_commands();  // see engine_commands.hpp
std::vector<Command> gateway_commands();
std::vector<Command> init_app_commands();
std::vector<Command> observe_federation_commands();
std::vector<Command> version_commands();
std::vector<Command> worker_control_commands();
std::vector<Command> worker_start_commands();
std::vector<Command> worker_status_commands();

}  // namespace stem::cli
