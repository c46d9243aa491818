// The commands that work on a segment through the engine: one line a command file.
#pragma once

#include <vector>

#include "tools/stem/command.hpp"

namespace stem::cli {

std::vector<Command> beat_commands();
std::vector<Command> dlq_commands();
std::vector<Command> enqueue_commands();
std::vector<Command> events_commands();
std::vector<Command> health_commands();
std::vector<Command> journal_commands();
std::vector<Command> observe_commands();
std::vector<Command> queue_commands();
std::vector<Command> schedule_commands();
std::vector<Command> schedule_look_commands();
std::vector<Command> segment_commands();
std::vector<Command> segment_verify_commands();
std::vector<Command> task_commands();
std::vector<Command> top_commands();
std::vector<Command> why_commands();

}  // namespace stem::cli
