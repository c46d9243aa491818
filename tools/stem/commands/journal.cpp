// `stem journal info|verify|compact|repair|serve` (docs/journal.md).
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "journal/disk_store.hpp"
#include "journal/expect.hpp"
#include "journal/live_set.hpp"
#include "journal/rewrite.hpp"
#include "journal/serve.hpp"
#include "shm/journal_line.hpp"
#include "shm/names.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/consent.hpp"
#include "tools/stem/interrupts.hpp"
#include "tools/stem/json_output.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kDurabilityNames[] = {"memory", "journal", "sync"};

Result<std::string> journal_directory(const Context& context) {
  return journal::directory_of({.name_space = context.namespace_name});
}

// What its files say; read while a writer may be at work.
struct Look {
  std::string directory;
  journal::ReadReport report;
  std::uint64_t alive = 0, results = 0, schedules = 0;
};

Result<Look> look_at(const Context& context) {
  auto directory = journal_directory(context);
  if (!directory.ok()) return directory.error();
  if (!journal::has_files(*directory)) return Error{Errc::kNotFound, "there is no journal in " + *directory};
  auto store = journal::open_disk_store(*directory);
  if (!store.ok()) return store.error();
  journal::LiveSet live;
  std::vector<journal::Contents> contents;
  auto report = journal::read_journal(
      **store, journal::OnDamage::kSkip, [&](const journal::Record& r) { return live.apply(r); }, &contents);
  if (!report.ok()) return report.error();
  const auto schedules = static_cast<std::uint64_t>(std::count_if(
      live.schedules().begin(), live.schedules().end(), [](const auto& s) { return !s.second.definition.empty(); }));
  return Look{*directory, std::move(*report), live.alive(), live.results(), schedules};
}

ordered_json damage_json(const std::vector<journal::Damage>& damage) {
  ordered_json rows = ordered_json::array();
  for (const journal::Damage& d : damage)
    rows.push_back(
        {{"file", d.file}, {"offset", d.offset}, {"what", d.what}, {"firstLsn", d.first_lsn}, {"lastLsn", d.last_lsn}});
  return rows;
}

void print_damage(const std::vector<journal::Damage>& damage) {
  for (const journal::Damage& d : damage) fmt::print("damage        {}\n", journal::describe(d));
}

struct Totals {
  std::uint64_t bytes = 0, used_bytes = 0, batches = 0, records = 0;
};

Totals totals_of(const journal::ReadReport& report) {
  Totals all;
  for (const journal::FileReport& file : report.files) {
    all.bytes += file.bytes;
    all.used_bytes += file.used_bytes;
    all.batches += file.batches;
    all.records += file.records;
  }
  return all;
}

ordered_json look_json(const Look& look) {
  const Totals all = totals_of(look.report);
  return {{"directory", look.directory},
          {"files", look.report.files.size()},
          {"bytes", all.bytes},
          {"usedBytes", all.used_bytes},
          {"batches", all.batches},
          {"records", all.records},
          {"lastLsn", look.report.last.lsn},
          {"alive", look.alive},
          {"results", look.results},
          {"schedules", look.schedules},
          {"tornTails", look.report.torn_tails()},
          {"damage", damage_json(look.report.damage)}};
}

void print_look(const Look& look) {
  const Totals all = totals_of(look.report);
  fmt::print("directory     {}\n", look.directory);
  fmt::print("files         {}, {} of {} used\n", look.report.files.size(), base::human_size(all.used_bytes),
             base::human_size(all.bytes));
  fmt::print("batches       {}, {} records\n", all.batches, all.records);
  fmt::print("alive         {} tasks, {} results, {} schedules\n", look.alive, look.results, look.schedules);
  fmt::print("torn tails    {}\n", look.report.torn_tails());
  print_damage(look.report.damage);
}

// ---- info

// The segment's side: who writes, and which queues want it.
ordered_json segment_json(const shm::Segment& segment) {
  const std::uint64_t writer = segment.header().journal_writer.load(std::memory_order_acquire);
  const auto participant = static_cast<std::uint32_t>(writer & 0xfff);
  const bool runs = shm::journal_runs(segment, base::monotonic_ns());
  ordered_json queues = ordered_json::array();
  for (std::uint32_t queue = 0; queue < shm::queue_total(segment); ++queue) {
    const auto durability = static_cast<std::size_t>(shm::durability_of(segment, queue));
    if (durability == 0 || durability >= std::size(kDurabilityNames)) continue;
    queues.push_back({{"queue", shm::queue_name(segment, queue)}, {"durability", kDurabilityNames[durability]}});
  }
  const std::uint64_t waiting = queues.empty() ? 0 : shm::JournalMarks(segment).count();
  ordered_json document{
      {"takesRecords", runs}, {"writerPid", nullptr}, {"changesWaiting", waiting}, {"queues", queues}};
  if (participant != 0 && participant <= segment.geometry().participant_count)
    document["writerPid"] = segment.row(participant - 1).pid;
  return document;
}

int journal_info(const Context& context) {
  const auto look = look_at(context);
  if (!look.ok() && look.error().code != Errc::kNotFound) return fail("journal info", look.error());
  const auto segment = shm::Segment::watch(context.namespace_name);
  if (!look.ok() && !segment.ok()) return fail("journal info", look.error());
  const ordered_json host = segment.ok() ? segment_json(**segment) : ordered_json(nullptr);
  if (context.json) {
    print_json({{"files", look.ok() ? look_json(*look) : ordered_json(nullptr)}, {"segment", host}});
    return kExitOk;
  }
  look.ok() ? print_look(*look) : fmt::print("files         none yet\n");
  if (!segment.ok()) {
    fmt::print("segment       none; the next `stem worker start` or `stem journal serve` brings back what is alive\n");
    return kExitOk;
  }
  const bool runs = host["takesRecords"].get<bool>();
  fmt::print("writer        {}\n",
             host["writerPid"].is_null() ? "nobody" : fmt::format("pid {}", host["writerPid"].dump()));
  fmt::print("takes records {}\n", runs ? "yes" : "no");
  for (const auto& queue : host["queues"])
    fmt::print("queue         {} ({})\n", printable(queue["queue"].get<std::string>()),
               queue["durability"].get<std::string>());
  return kExitOk;
}

Run build_info(CommandLine&) { return journal_info; }

// ---- verify

int journal_verify(const Context& context) {
  const auto look = look_at(context);
  if (!look.ok()) return fail("journal verify", look.error());
  if (context.json) {
    print_json(look_json(*look));
  } else {
    print_look(*look);
    if (look->report.damage.empty()) fmt::print("every batch that was on disk checks\n");
  }
  return look->report.damage.empty() ? kExitOk : kExitFailed;
}

Run build_verify(CommandLine&) { return journal_verify; }

// ---- compact, repair

int rewrite(std::string_view command, journal::OnDamage on_damage, const Context& context) {
  const auto directory = journal_directory(context);
  if (!directory.ok()) return fail(command, directory.error());
  if (!journal::has_files(*directory)) return fail(command, {Errc::kNotFound, "there is no journal in " + *directory});
  const auto lock = journal::WriterLock::take(*directory);
  if (!lock.ok()) return fail(command, lock.error().within("whoever writes a journal compacts it himself"));
  const auto store = journal::open_disk_store(*directory);
  if (!store.ok()) return fail(command, store.error());
  const auto found = journal::examine_journal(**store, on_damage);
  if (!found.ok()) return fail(command, found.error().within("`stem journal repair --dry-run` says what can be saved"));
  if (!context.json) print_damage(found->damage);
  const std::string what =
      fmt::format("write {} tasks anew and drop {} files{}", found->tasks, found->files_before,
                  found->damage.empty() ? ""
                                        : "; what the lost batches said is gone: tasks enqueued there are lost, "
                                          "tasks that ended there run again") +
      (found->unnamed == 0
           ? ""
           : fmt::format("; {} tasks whose queue or name was in a lost batch cannot be saved", found->unnamed));
  switch (ask_consent(context, what)) {
    case Consent::kDryRun:
      if (context.json)
        print_json({{"alive", found->tasks},
                    {"unnamed", found->unnamed},
                    {"damage", damage_json(found->damage)},
                    {"dryRun", true}});
      return kExitOk;
    case Consent::kRefused: return kExitUsage;
    case Consent::kGiven: break;
  }
  const auto done = journal::rewrite_journal(**store, journal::WriterOptions{}.file_bytes, on_damage);
  if (!done.ok()) return fail(command, done.error());
  if (context.json)
    print_json({{"alive", done->tasks},
                {"filesBefore", done->files_before},
                {"filesAfter", done->files_after},
                {"damage", damage_json(done->damage)},
                {"dryRun", false}});
  else
    fmt::print("{} tasks; {} files became {}\n", done->tasks, done->files_before, done->files_after);
  return kExitOk;
}

Run build_compact(CommandLine&) {
  return [](const Context& context) { return rewrite("journal compact", journal::OnDamage::kStop, context); };
}

Run build_repair(CommandLine&) {
  return [](const Context& context) { return rewrite("journal repair", journal::OnDamage::kSkip, context); };
}

// ---- serve

int journal_serve(const Context& context) {
  Interrupts interrupts;
  shm::SegmentOptions options;
  options.name_space = context.namespace_name;
  const auto segment = journal::open_or_create(options);
  if (!segment.ok()) return fail("journal serve", segment.error());
  const auto served = journal::serve({.name_space = context.namespace_name}, [&] { return interrupts.wait_ns(0); });
  return served.ok() ? kExitOk : fail("journal serve", served.error());
}

Run build_serve(CommandLine&) { return journal_serve; }

}  // namespace

std::vector<Command> journal_commands() {
  return {{.path = "journal info",
           .group = Group::kHost,
           .help = "Who writes the journal, what it holds, which queues have one",
           .examples = {{"stem journal info", ""}},
           .traits = kReads,
           .build = build_info},
          {.path = "journal verify",
           .group = Group::kHost,
           .help = "Read every batch; name file and offset of what does not check",
           .details = "Exit code 70 when there is damage. A torn tail is none: it was never promised.",
           .examples = {{"stem journal verify --json", ""}},
           .traits = kReads,
           .build = build_verify},
          {.path = "journal compact",
           .group = Group::kHost,
           .help = "Write what is alive anew and drop the rest",
           .details = "Only while nobody writes: a writer compacts by itself.",
           .examples = {{"stem journal compact --yes", ""}},
           .traits = kReads | kDestroys,
           .build = build_compact},
          {.path = "journal repair",
           .group = Group::kHost,
           .help = "The same, leaving out what does not check",
           .details = "--dry-run names the batches that would be lost.",
           .examples = {{"stem journal repair --dry-run", ""}, {"stem journal repair --yes", ""}},
           .traits = kReads | kDestroys,
           .build = build_repair},
          {.path = "journal serve",
           .group = Group::kRun,
           .help = "Write the journal of this namespace, for hosts without workers",
           .details = "Workers' supervisors do it by themselves; of all who could, one does.",
           .examples = {{"stem journal serve", ""}},
           .build = build_serve}};
}

}  // namespace stem::cli
