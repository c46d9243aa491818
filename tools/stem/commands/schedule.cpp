// `stem schedule apply|delete|enable|disable`.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "beat/store.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/consent.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/schedule/schedule_file.hpp"
#include "tools/stem/schedule/schedules.hpp"

namespace stem::cli {
namespace {

using beat::Change;
using nlohmann::ordered_json;

constexpr std::size_t kLargestFile = 16u << 20;

Error refusal(std::string message) { return {Errc::kInvalidArgument, std::move(message)}; }

// ---- apply

struct ApplyFlags {
  std::string file;
  bool prune = false;
  StoreFlags store;
};

Result<std::string> read_file(const std::string& path) {
  std::ifstream file;
  if (path != "-") {
    file.open(path, std::ios::binary);
    if (!file) return refusal(system_error("cannot read " + path).message);
  }
  std::istream& in = path == "-" ? std::cin : file;
  std::string text(kLargestFile + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || (in.gcount() == 0 && !in.eof())) return refusal(fmt::format("cannot read {}", path));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kLargestFile)
    return refusal(fmt::format("{} is larger than {}", path, base::human_size(kLargestFile)));
  return text;
}

struct Plan {
  std::vector<std::pair<const beat::Entry*, Change>> entries;
  std::vector<std::string> removed;

  [[nodiscard]] std::size_t count(Change change) const {
    return static_cast<std::size_t>(
        std::count_if(entries.begin(), entries.end(), [&](const auto& e) { return e.second == change; }));
  }
};

Plan plan_of(const std::vector<beat::StoredEntry>& there, const std::vector<beat::Entry>& entries, bool prune) {
  Plan plan;
  const auto find = [&](const std::string& id) {
    return std::find_if(there.begin(), there.end(), [&](const auto& stored) { return stored.entry.id == id; });
  };
  for (const beat::Entry& entry : entries) {
    const auto old = find(entry.id);
    const Change change = old == there.end()                        ? Change::kCreated
                          : old->entry.to_json() == entry.to_json() ? Change::kNone
                                                                    : Change::kChanged;
    plan.entries.emplace_back(&entry, change);
  }
  for (const auto& stored : there) {
    const bool kept = std::any_of(entries.begin(), entries.end(),
                                  [&](const beat::Entry& entry) { return entry.id == stored.entry.id; });
    if (prune && !kept) plan.removed.push_back(stored.entry.id);
  }
  return plan;
}

std::string_view word_of(Change change) {
  switch (change) {
    case Change::kCreated: return "created";
    case Change::kChanged: return "changed";
    case Change::kRemoved: return "removed";
    default: return "unchanged";
  }
}

void print_plan(const Plan& plan, const Context& context) {
  if (context.json) {
    ordered_json rows = ordered_json::array();
    for (const auto& [entry, change] : plan.entries) rows.push_back({{"id", entry->id}, {"change", word_of(change)}});
    for (const std::string& id : plan.removed) rows.push_back({{"id", id}, {"change", "removed"}});
    print_json({{"dryRun", context.dry_run},
                {"created", plan.count(Change::kCreated)},
                {"changed", plan.count(Change::kChanged)},
                {"unchanged", plan.count(Change::kNone)},
                {"removed", plan.removed.size()},
                {"schedules", rows}});
    return;
  }
  const std::string_view would = context.dry_run ? "would be " : "";
  for (const auto& [entry, change] : plan.entries)
    if (change != Change::kNone) fmt::print("{} {}{}\n", printable(entry->id), would, word_of(change));
  for (const std::string& id : plan.removed) fmt::print("{} {}removed\n", printable(id), would);
  fmt::print("{} created, {} changed, {} removed, {} unchanged{}\n", plan.count(Change::kCreated),
             plan.count(Change::kChanged), plan.removed.size(), plan.count(Change::kNone),
             context.dry_run ? "; nothing was done (--dry-run)" : "");
}

int carry_out(Schedules& store, Plan& plan) {
  for (auto& [entry, change] : plan.entries) {
    const auto put = store.put(*entry);
    if (!put.ok()) return fail("schedule apply", put.error());
    change = *put;  // somebody may have changed it meanwhile
  }
  for (const std::string& id : plan.removed)
    if (auto gone = store.remove(id); !gone.ok()) return fail("schedule apply", gone.error());
  return kExitOk;
}

int apply(const ApplyFlags& flags, const Context& context) {
  if (flags.file.empty()) return fail("schedule apply", refusal("-f FILE is missing"));
  const auto text = read_file(flags.file);
  if (!text.ok()) return fail("schedule apply", text.error());
  const ScheduleFile file = parse_schedule_file(*text, flags.file == "-" ? "stdin" : flags.file);
  if (!file.errors.empty()) {
    for (const std::string& error : file.errors) fmt::print(stderr, "stem: schedule apply: {}\n", error);
    return kExitUsage;
  }
  const auto store = open_schedules(flags.store, context, context.dry_run ? OpenFor::kLooking : OpenFor::kMaking);
  if (!store.ok() && context.dry_run && store.error().code == Errc::kNotFound) {
    print_plan(plan_of({}, file.entries, flags.prune), context);  // trying makes no segment
    return kExitOk;
  }
  if (!store.ok()) return fail("schedule apply", store.error());
  for (const beat::Entry& entry : file.entries)
    if (const auto good = (*store)->check(entry); !good.ok())
      return fail("schedule apply", good.error().within(fmt::format("schedule \"{}\"", printable(entry.id))));
  const auto there = (*store)->list();
  if (!there.ok()) return fail("schedule apply", there.error());
  Plan plan = plan_of(*there, file.entries, flags.prune);
  if (!context.dry_run && !plan.removed.empty()) {
    const auto consent = ask_consent(
        context, fmt::format("remove {} schedule{}: {}", plan.removed.size(), plan.removed.size() == 1 ? "" : "s",
                             printable(fmt::format("{}", fmt::join(plan.removed, ", ")))));
    if (consent != Consent::kGiven) return kExitUsage;
  }
  if (!context.dry_run)
    if (const int code = carry_out(**store, plan); code != kExitOk) return code;
  print_plan(plan, context);
  return kExitOk;
}

Run build_apply(CommandLine& line) {
  auto flags = std::make_shared<ApplyFlags>();
  line.file("-f,--file", &flags->file, "YAML or JSON; - is stdin");
  line.flag("--prune", &flags->prune, "remove schedules that the file does not have");
  declare_store_flags(line, &flags->store);
  return [flags](const Context& context) { return apply(*flags, context); };
}

// ---- delete, enable, disable

using Ids = std::vector<std::string>;

Result<std::vector<beat::StoredEntry>> find_all(Schedules& store, const Ids& ids) {
  std::vector<beat::StoredEntry> found;
  for (const std::string& id : ids) {
    auto one = store.named(id);
    if (!one.ok()) return one.error();
    found.push_back(std::move(*one));
  }
  return found;
}

void print_changes(const std::vector<std::pair<std::string, Change>>& changes, std::string_view done,
                   const Context& context) {
  if (context.json) {
    ordered_json rows = ordered_json::array();
    for (const auto& [id, change] : changes) rows.push_back({{"id", id}, {"changed", change != Change::kNone}});
    print_json({{"dryRun", context.dry_run}, {"schedules", rows}});
    return;
  }
  for (const auto& [id, change] : changes)
    fmt::print("{} {}{}\n", printable(id), done, change == Change::kNone ? " (it was already)" : "");
}

int delete_schedules(const Ids& ids, const StoreFlags& flags, const Context& context) {
  const auto store = open_schedules(flags, context, OpenFor::kChanging);
  if (!store.ok()) return fail("schedule delete", store.error());
  if (const auto found = find_all(**store, ids); !found.ok()) return fail("schedule delete", found.error());
  switch (ask_consent(context, fmt::format("delete {}", printable(fmt::format("{}", fmt::join(ids, ", ")))))) {
    case Consent::kDryRun: return kExitOk;
    case Consent::kRefused: return kExitUsage;
    case Consent::kGiven: break;
  }
  std::vector<std::pair<std::string, Change>> changes;
  for (const std::string& id : ids) {
    const auto change = (*store)->remove(id);
    if (!change.ok()) return fail("schedule delete", change.error());
    changes.emplace_back(id, *change);
  }
  print_changes(changes, "deleted", context);
  return kExitOk;
}

int enable_schedules(const Ids& ids, bool enabled, const StoreFlags& flags, const Context& context) {
  const std::string_view command = enabled ? "schedule enable" : "schedule disable";
  const auto store = open_schedules(flags, context, OpenFor::kChanging);
  if (!store.ok()) return fail(command, store.error());
  const auto found = find_all(**store, ids);
  if (!found.ok()) return fail(command, found.error());
  std::vector<std::pair<std::string, Change>> changes;
  for (const auto& stored : *found) {
    beat::Entry entry = stored.entry;
    entry.enabled = enabled;
    const auto change = (*store)->put(entry);
    if (!change.ok()) return fail(command, change.error());
    changes.emplace_back(entry.id, *change);
  }
  print_changes(changes, enabled ? "enabled" : "disabled", context);
  return kExitOk;
}

Run build_delete(CommandLine& line) {
  auto ids = std::make_shared<Ids>();
  auto store = std::make_shared<StoreFlags>();
  line.arguments("ID", ids.get(), "ids of schedules").required();
  declare_store_flags(line, store.get());
  return [ids, store](const Context& context) { return delete_schedules(*ids, *store, context); };
}

template <bool kEnabled>
Run build_enable(CommandLine& line) {
  auto ids = std::make_shared<Ids>();
  auto store = std::make_shared<StoreFlags>();
  line.arguments("ID", ids.get(), "ids of schedules").required();
  declare_store_flags(line, store.get());
  return [ids, store](const Context& context) { return enable_schedules(*ids, kEnabled, *store, context); };
}

}  // namespace

std::vector<Command> schedule_commands() {
  return {{.path = "schedule apply",
           .group = Group::kTasks,
           .help = "Make the schedules be as a file says",
           .details = "The file holds a list of entries, an object with schedules:, or a map keyed by id. An entry has "
                      "id, task, spec (\"every:15m\", cron of five or six fields, or an object with a kind: interval, "
                      "cron, calendar, solar, clocked), and may have queue, args, kwargs, meta, enabled, jitterMs, "
                      "timezone, misfire (skip, once, all with misfireMax) and every task option. Schedules that stay "
                      "as they were go on; a file with a mistake changes nothing.",
           .examples = {{"stem schedule apply -f schedules.yaml", ""},
                        {"stem schedule apply -f schedules.yaml --redis redis://broker", "for all hosts of that Redis"},
                        {"stem schedule apply -f schedules.yaml --prune --dry-run", "what would be removed"}},
           .traits = kReads | kDestroys,
           .build = build_apply},
          {.path = "schedule delete",
           .group = Group::kTasks,
           .help = "Remove schedules",
           .examples = {{"stem schedule delete nightly --yes", ""}},
           .traits = kReads | kDestroys,
           .build = build_delete},
          {.path = "schedule enable",
           .group = Group::kTasks,
           .help = "Let schedules fire again, from now on",
           .examples = {{"stem schedule enable nightly", ""}},
           .traits = kReads,
           .build = build_enable<true>},
          {.path = "schedule disable",
           .group = Group::kTasks,
           .help = "Keep schedules from firing",
           .examples = {{"stem schedule disable nightly", ""}},
           .traits = kReads,
           .build = build_enable<false>}};
}

}  // namespace stem::cli
