#include "tools/stem/commands/engine_commands.hpp"

#include "tools/stem/commands/commands.hpp"

namespace stem::cli {

// The order within a group is the order of help.
std::vector<Command> engine_commands() {
  std::vector<Command> table;
  for (const auto& rows :
       {enqueue_commands(), task_commands(), why_commands(), dlq_commands(), queue_commands(), schedule_commands(),
        schedule_look_commands(), beat_commands(), top_commands(), observe_commands(), events_commands(),
        health_commands(), segment_commands(), segment_verify_commands(), journal_commands()}) {
    table.insert(table.end(), rows.begin(), rows.end());
  }
  return table;
}

}  // namespace stem::cli
