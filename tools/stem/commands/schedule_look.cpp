// `stem schedule list|show|dry-run`.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "beat/store.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/schedule/schedule_rows.hpp"
#include "tools/stem/schedule/schedules.hpp"
#include "tools/stem/table.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;

// ---- list

int list_schedules(const StoreFlags& store, const Context& context) {
  const auto schedules = open_schedules(store, context, OpenFor::kLooking);
  if (!schedules.ok()) return fail("schedule list", schedules.error());
  const std::int64_t now_ns = base::realtime_ns();
  const auto read = (*schedules)->list();
  if (!read.ok()) return fail("schedule list", read.error());
  const std::vector<beat::StoredEntry>& entries = *read;
  if (context.json) {
    ordered_json rows = ordered_json::array();
    for (const auto& stored : entries) rows.push_back(schedule_json(stored, now_ns));
    print_json({{"namespace", context.namespace_name}, {"schedules", rows}});
    return kExitOk;
  }
  Table table({{"ID", Align::kLeft, true},
               {"TASK", Align::kLeft, true},
               {"QUEUE", Align::kLeft, true},
               {"SPEC", Align::kLeft, true},
               {"NEXT", Align::kRight},
               {"LAST", Align::kRight},
               {"DRIFT", Align::kRight},
               {"JITTER", Align::kRight},
               {"ENABLED"}});
  for (const auto& stored : entries) {
    const beat::Entry& entry = stored.entry;
    const std::string next = next_text(stored, now_ns);
    table.add_row({entry.id,
                   entry.task,
                   entry.queue.empty() ? "default" : entry.queue,
                   entry.spec.text() + (entry.timezone.empty() ? "" : " " + entry.timezone),
                   {next, next.ends_with("late") ? Tone::kWarn : Tone::kPlain},
                   last_text(stored, now_ns),
                   stored.figures.fired_at_ns == 0 ? "" : base::human_duration(stored.figures.drift_ns),
                   entry.jitter_ns == 0 ? "" : base::write_duration(entry.jitter_ns),
                   entry.enabled ? Cell("yes") : Cell("no", Tone::kWarn)});
  }
  if (table.empty()) {
    fmt::print("no schedules yet; 'stem schedule apply -f FILE' brings some\n");
  } else {
    table.print(context.style);
  }
  return kExitOk;
}

Run build_list(CommandLine& line) {
  auto store = std::make_shared<StoreFlags>();
  declare_store_flags(line, store.get());
  return [store](const Context& context) { return list_schedules(*store, context); };
}

// ---- show

void print_field(std::string_view name, const std::string& value) {
  if (!value.empty()) fmt::print("{:<12} {}\n", name, printable(value));
}

std::string compact(const nlohmann::json& value) {
  return value.is_null() || (value.is_object() && value.empty())
             ? ""
             : value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

int show_schedule(const std::string& id, const StoreFlags& store, const Context& context) {
  const auto schedules = open_schedules(store, context, OpenFor::kLooking);
  if (!schedules.ok()) return fail("schedule show", schedules.error());
  const auto stored = (*schedules)->named(id);
  if (!stored.ok()) return fail("schedule show", stored.error());
  const std::int64_t now_ns = base::realtime_ns();
  if (context.json) {
    print_json(schedule_json(*stored, now_ns));
    return kExitOk;
  }
  const beat::Entry& entry = stored->entry;
  const beat::TickFigures& figures = stored->figures;
  const auto next = next_fire_ns(*stored, now_ns);
  print_field("id", entry.id);
  print_field("task", entry.task);
  print_field("queue", entry.queue.empty() ? "default" : entry.queue);
  print_field("spec", entry.spec.text());
  print_field("timezone", entry.zone.name());
  print_field("enabled", entry.enabled ? "yes" : "no");
  print_field("jitter", entry.jitter_ns == 0 ? "" : base::write_duration(entry.jitter_ns));
  print_field("misfire", entry.misfire == beat::Misfire::kAll ? fmt::format("all, at most {}", entry.misfire_max)
                                                              : std::string(beat::to_string(entry.misfire)));
  print_field("args", compact(entry.args));
  print_field("kwargs", compact(entry.kwargs));
  print_field("meta", compact(entry.meta));
  print_field("options", compact(entry.options));
  print_field("since", show_time(stored->since_ns, now_ns));
  print_field("next", next ? show_time(*next, now_ns) : "never");
  if (figures.fired_at_ns != 0) {
    print_field("last", show_time(figures.fired_at_ns, now_ns));
    print_field("planned for", write_time(figures.fired_ns));
    print_field("drift", base::human_duration(figures.drift_ns));
  }
  print_field("fired", fmt::format("{} (failed {}, skipped {}, deduplicated {})", figures.fired, figures.failed,
                                   figures.skipped, figures.deduplicated));
  if (figures.last_status != engine::EnqueueStatus::kOk)
    print_field("last error", engine::to_string(figures.last_status));
  return kExitOk;
}

Run build_show(CommandLine& line) {
  auto id = std::make_shared<std::string>();
  auto store = std::make_shared<StoreFlags>();
  line.argument("ID", id.get(), "id of a schedule").required();
  declare_store_flags(line, store.get());
  return [id, store](const Context& context) { return show_schedule(*id, *store, context); };
}

// ---- dry-run

struct DryRunFlags {
  std::optional<std::string> id, spec;
  std::string timezone;
  std::uint64_t count = 5;
  std::optional<std::int64_t> from_ns;
  StoreFlags store;
};

Result<beat::StoredEntry> entry_of(const DryRunFlags& flags, const Context& context, std::int64_t from_ns) {
  if (flags.id.has_value() == flags.spec.has_value())
    return Error{Errc::kInvalidArgument, "give the ID of a schedule, or a spec with --spec"};
  if (flags.id) {
    const auto schedules = open_schedules(flags.store, context, OpenFor::kLooking);
    if (!schedules.ok()) return schedules.error();
    return (*schedules)->named(*flags.id);
  }
  const bool object = flags.spec->starts_with('{');
  nlohmann::json spec = *flags.spec;
  if (object) {
    if (beat::json_depth(*flags.spec) <= beat::kDeepestJson)
      spec = nlohmann::json::parse(*flags.spec, nullptr, /*allow_exceptions=*/false);
    if (!spec.is_object()) return Error{Errc::kInvalidArgument, "--spec: not JSON"};
  }
  nlohmann::json written{{"id", "dry-run"}, {"task", "dry-run"}, {"spec", spec}};
  if (!flags.timezone.empty()) written["timezone"] = flags.timezone;
  auto entry = beat::Entry::parse(written);
  if (!entry.ok()) return entry.error();
  beat::StoredEntry stored;
  stored.entry = std::move(*entry);
  stored.since_ns = from_ns;
  return stored;
}

int dry_run(const DryRunFlags& flags, const Context& context) {
  if (flags.count < 1 || flags.count > 10'000)
    return fail("schedule dry-run", {Errc::kInvalidArgument, "--count: allowed: 1 to 10000"});
  if (flags.id && !flags.timezone.empty())
    return fail("schedule dry-run", {Errc::kInvalidArgument, "--timezone goes with --spec"});
  const std::int64_t from_ns = flags.from_ns.value_or(base::realtime_ns());
  const auto stored = entry_of(flags, context, from_ns);
  if (!stored.ok()) return fail("schedule dry-run", stored.error());
  const beat::Entry& entry = stored->entry;
  ordered_json times = ordered_json::array();
  std::int64_t after_ns = from_ns;
  for (std::uint64_t i = 0; i < flags.count; ++i) {
    const auto planned = entry.spec.next(after_ns, stored->since_ns, entry.zone);
    if (!planned) break;
    after_ns = *planned;
    const std::string at = write_time(*planned + entry.jitter_of(*planned));
    if (context.json) {
      times.push_back({{"planned", write_time(*planned)}, {"at", at}});
    } else {
      fmt::print("{}\n", at);
    }
    if (entry.spec.run_once()) break;
  }
  if (context.json) print_json({{"spec", entry.spec.text()}, {"timezone", entry.zone.name()}, {"times", times}});
  if (!context.json && after_ns == from_ns) fmt::print("never\n");
  return kExitOk;
}

Run build_dry_run(CommandLine& line) {
  auto flags = std::make_shared<DryRunFlags>();
  line.argument("ID", &flags->id, "id of a schedule");
  line.text("--spec", &flags->spec, "a spec instead: \"every:15m\", cron, or an object as JSON").named("SPEC");
  line.text("--timezone", &flags->timezone, "IANA zone of --spec (default UTC)").named("ZONE");
  line.count("--count", &flags->count, "how many times (default 5)");
  line.when_ns("--from", &flags->from_ns, Toward::kFuture, "after this time (default now)");
  declare_store_flags(line, &flags->store);
  return [flags](const Context& context) { return dry_run(*flags, context); };
}

}  // namespace

std::vector<Command> schedule_look_commands() {
  return {{.path = "schedule list",
           .group = Group::kTasks,
           .help = "List schedules, and when they fire next",
           .details = "DRIFT is how late the last tick was fired, its jitter not counted.",
           .examples = {{"stem schedule list", ""}, {"stem schedule list --json", ""}},
           .traits = kReads,
           .build = build_list},
          {.path = "schedule show",
           .group = Group::kTasks,
           .help = "Show one schedule",
           .examples = {{"stem schedule show nightly", ""}},
           .traits = kReads,
           .build = build_show},
          {.path = "schedule dry-run",
           .group = Group::kTasks,
           .help = "Print the next times of a schedule or a spec, and fire nothing",
           .details = "One time a line, in UTC, jitter included.",
           .examples = {{"stem schedule dry-run nightly --count 3", ""},
                        {"stem schedule dry-run --spec '30 2 * * *' --timezone Europe/Berlin --from 2026-03-28",
                         "over a change of clocks"}},
           .traits = kReads,
           .build = build_dry_run}};
}

}  // namespace stem::cli
