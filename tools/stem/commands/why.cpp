// `stem why ID`: why a task is where it is.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/task/why.hpp"

namespace stem::cli {
namespace {

int show_why(const std::string& text, const Context& context) {
  engine::TaskId id;
  if (!engine::parse_task_id(text, id)) {
    return fail("why",
                {Errc::kInvalidArgument, fmt::format("'{}' is no task id; one looks like 1f2e3d4c-00000000abc00012",
                                                     shortened(printable(text), 60))});
  }
  const auto attached = Attachment::watch(context);
  if (!attached.ok()) return fail("why", attached.error());
  const WhyTask task = why(*attached, id, [&context](const engine::TaskInfo& running) -> std::string {
    const auto segment = attach_segment(context);
    return segment.ok() ? ask_where(**segment, running) : std::string();
  });
  if (context.json)
    print_json(why_json(task, *attached));
  else
    print_why(task, *attached, context.style);
  return !task.info && task.why.life.empty() ? kExitNotFound : kExitOk;
}

Run build_why(CommandLine& line) {
  auto id = std::make_shared<std::string>();
  line.argument("ID", id.get(), "the task").required();
  return [id](const Context& context) { return show_why(*id, context); };
}

}  // namespace

std::vector<Command> why_commands() {
  return {{.path = "why",
           .group = Group::kTasks,
           .help = "Why a task waits, runs so long, or is dead, and what to do",
           .details =
               "Its life as far as it is remembered (docs/events.md), and what it waits for now: a paused queue, "
               "workers that are busy, stopped or crowded off their core, a limit, its next attempt.",
           .examples = {{"stem why 1f2e3d4c-00000000abc00012", ""}},
           .traits = kReads,
           .build = build_why}};
}

}  // namespace stem::cli
