// `stem segment create|list|info|destroy`. `verify` has a file of its own.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/units.hpp"
#include "journal/expect.hpp"
#include "shm/names.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/consent.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/segment/usage.hpp"
#include "tools/stem/table.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;

void print_field(std::string_view name, std::string_view text) { fmt::print("{:<13} {}\n", name, text); }

std::string plural(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

// ---- create

struct CreateOptions {
  std::optional<std::uint64_t> slots, queues, task_names, participants, block_bytes;
  std::string group;
};

// What does not fit a field is left at its largest value, which the segment refuses with the range.
void set(std::uint32_t& field, const std::optional<std::uint64_t>& given) {
  if (given) field = static_cast<std::uint32_t>(std::min<std::uint64_t>(*given, UINT32_MAX));
}

ordered_json geometry_json(const shm::Segment& segment) {
  const shm::Geometry& g = segment.geometry();
  return {{"slots", g.slot_count},       {"queues", g.queue_count},
          {"taskNames", g.task_count},   {"participants", g.participant_count},
          {"blockBytes", g.block_bytes}, {"totalBytes", segment.layout().total_bytes}};
}

int create_segment(const CreateOptions& given, const Context& context) {
  shm::SegmentOptions options;
  options.name_space = context.namespace_name;
  options.group = given.group;
  set(options.slot_count, given.slots);
  set(options.queue_count, given.queues);
  set(options.task_count, given.task_names);
  set(options.participant_count, given.participants);
  if (given.block_bytes) options.block_bytes = *given.block_bytes;
  const auto made = journal::create(options);
  if (!made.ok()) return fail("segment create", made.error());
  const shm::Segment& segment = **made;
  if (context.json) {
    print_json({{"namespace", segment.name_space()},
                {"path", segment.path()},
                {"epoch", fmt::format("{:08x}", segment.epoch())},
                {"geometry", geometry_json(segment)},
                {"memoryBytes", segment.used_bytes()}});
    return kExitOk;
  }
  const shm::Geometry& g = segment.geometry();
  fmt::print("made {} ({}): {} slots, {} queues, {} participants, {} for payloads; {} used now\n",
             context.style.paint(Tone::kBold, segment.name_space()), segment.path(), g.slot_count, g.queue_count,
             g.participant_count, base::human_size(g.block_bytes), base::human_size(segment.used_bytes()));
  return kExitOk;
}

Run build_create(CommandLine& line) {
  auto options = std::make_shared<CreateOptions>();
  const shm::SegmentOptions usual;
  line.count("--slots", &options->slots, fmt::format("tasks that may exist at once (default {})", usual.slot_count));
  line.count("--queues", &options->queues, fmt::format("queue names (default {})", usual.queue_count));
  line.count("--task-names", &options->task_names, fmt::format("task names (default {})", usual.task_count));
  line.count("--participants", &options->participants,
             fmt::format("threads that may be attached at once (default {})", usual.participant_count));
  line.size_bytes("--block-bytes", &options->block_bytes,
                  fmt::format("room for payloads over 64 bytes (default {})", base::write_size(usual.block_bytes)));
  line.text("--group", &options->group, "share it with the members of this group").named("GROUP");
  return [options](const Context& context) { return create_segment(*options, context); };
}

// ---- list

int list_segments(const Context& context) {
  ordered_json rows = ordered_json::array();
  Table table({{"NAMESPACE"},
               {"TASKS", Align::kRight},
               {"ATTACHED", Align::kRight},
               {"KEEPER"},
               {"MEMORY", Align::kRight},
               {"PATH", Align::kLeft, true}});
  for (const shm::SegmentEntry& entry : shm::Segment::list()) {
    ordered_json row{
        {"namespace", entry.name_space}, {"path", entry.path}, {"memoryBytes", entry.used_bytes}, {"error", nullptr}};
    const auto attached = shm::Segment::watch(entry.name_space);
    if (!attached.ok()) {
      row["error"] = to_string(attached.error().code);
      table.add_row({entry.name_space,
                     "",
                     "",
                     {std::string(to_string(attached.error().code)), Tone::kBad},
                     base::human_size(entry.used_bytes),
                     entry.path});
      rows.push_back(std::move(row));
      continue;
    }
    const std::uint64_t tasks = count_slots(**attached).tasks();
    const auto participants = attached_to(**attached);
    const auto alive =
        std::count_if(participants.begin(), participants.end(), [](const Attached& one) { return one.alive; });
    const bool keeper = std::any_of(participants.begin(), participants.end(),
                                    [](const Attached& one) { return one.keeper && one.alive; });
    row["tasks"] = tasks;
    row["participants"] = alive;
    row["keeper"] = keeper;
    rows.push_back(std::move(row));
    table.add_row({entry.name_space, fmt::format("{}", tasks), fmt::format("{}", alive), keeper ? "yes" : "",
                   base::human_size(entry.used_bytes), entry.path});
  }
  if (context.json) {
    print_json({{"directory", shm::default_directory()}, {"segments", rows}});
  } else if (table.empty()) {
    fmt::print("no segments in {}\n", shm::default_directory());
  } else {
    table.print(context.style);
  }
  return kExitOk;
}

Run build_list(CommandLine&) { return list_segments; }

// ---- info

ordered_json sections_json(const std::vector<SectionUse>& sections) {
  ordered_json rows = ordered_json::array();
  for (const SectionUse& s : sections) {
    ordered_json row{{"name", s.name}, {"writtenBytes", s.written_bytes}, {"sizeBytes", s.size_bytes}};
    if (!s.holds.empty()) {
      row["holds"] = s.holds;
      row["used"] = s.used;
      row["room"] = s.room;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

ordered_json participants_json(const std::vector<Attached>& participants) {
  ordered_json rows = ordered_json::array();
  for (const Attached& one : participants) {
    rows.push_back({{"participant", one.participant},
                    {"name", one.name},
                    {"role", to_string(one.role)},
                    {"pid", one.pid},
                    {"alive", one.alive},
                    {"keeper", one.keeper}});
  }
  return rows;
}

ordered_json slots_json(const SlotCounts& slots) {
  ordered_json by_state = ordered_json::object();
  for (int i = 0; i < shm::kStateCount; ++i) {
    by_state[shm::to_string(static_cast<shm::State>(i))] = slots.by_state[i];
  }
  return by_state;
}

void print_info_json(const shm::Segment& segment, const std::vector<Attached>& participants, const SlotCounts& slots) {
  const shm::Header& h = segment.header();
  print_json({{"namespace", segment.name_space()},
              {"path", segment.path()},
              {"createdAt", write_time(h.created_realtime_ns)},
              {"layoutVersion", h.version},
              {"epoch", fmt::format("{:08x}", segment.epoch())},
              {"ownerUid", h.owner_uid},
              {"geometry", geometry_json(segment)},
              {"memoryBytes", segment.used_bytes()},
              {"tasks", slots.tasks()},
              {"slotsByState", slots_json(slots)},
              {"keeperPasses", h.keeper_passes.load(std::memory_order_relaxed)},
              {"participants", participants_json(participants)},
              {"sections", sections_json(section_use(segment))}});
}

std::string keeper_text(const shm::Segment& segment, const std::vector<Attached>& participants) {
  const auto keeper =
      std::find_if(participants.begin(), participants.end(), [](const Attached& one) { return one.keeper; });
  if (keeper == participants.end()) {
    return "none: delayed tasks and the tasks of the dead wait until a worker starts";
  }
  return fmt::format("{} (pid {}{}), {} patrol passes", printable(keeper->name), keeper->pid,
                     keeper->alive ? "" : ", gone", segment.header().keeper_passes.load(std::memory_order_relaxed));
}

std::string states_text(const SlotCounts& slots) {
  std::string text;
  for (int i = 0; i < shm::kStateCount; ++i) {
    const auto state = static_cast<shm::State>(i);
    if (slots.by_state[i] == 0 || state == shm::State::kFree) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", slots.by_state[i], shm::to_string(state));
  }
  return text.empty() ? "none" : text;
}

void print_info(const shm::Segment& segment, const std::vector<Attached>& participants, const SlotCounts& slots,
                const Context& context) {
  const shm::Header& h = segment.header();
  const auto alive = static_cast<std::uint64_t>(
      std::count_if(participants.begin(), participants.end(), [](const Attached& one) { return one.alive; }));
  print_field("namespace",
              fmt::format("{}  ({})", context.style.paint(Tone::kBold, segment.name_space()), segment.path()));
  print_field("made",
              fmt::format("{}, layout {}, epoch {:08x}", show_time(h.created_realtime_ns, Moment::now().realtime_ns),
                          h.version, segment.epoch()));
  print_field("memory", fmt::format("{} in use, {} address space", base::human_size(segment.used_bytes()),
                                    base::human_size(segment.layout().total_bytes)));
  print_field("slots", states_text(slots));
  print_field("keeper", keeper_text(segment, participants));
  const std::uint64_t gone = participants.size() - alive;
  print_field("participants", fmt::format("{} of {} attached{}", alive, segment.geometry().participant_count,
                                          gone == 0 ? "" : fmt::format(", {} gone and not yet swept", gone)));
  fmt::print("\n");
  Table sections({{"SECTION"},
                  {"USED", Align::kRight},
                  {"ROOM", Align::kRight},
                  {"OF"},
                  {"WRITTEN", Align::kRight},
                  {"SIZE", Align::kRight}});
  for (const SectionUse& s : section_use(segment)) {
    const bool counted = !s.holds.empty();
    sections.add_row({std::string(s.name), counted ? fmt::format("{}", s.used) : "",
                      counted ? fmt::format("{}", s.room) : "", std::string(s.holds), base::human_size(s.written_bytes),
                      base::human_size(s.size_bytes)});
  }
  sections.print(context.style);
  if (participants.empty()) return;
  fmt::print("\n");
  Table rows({{"ROW", Align::kRight}, {"ROLE"}, {"PID", Align::kRight}, {"STATE"}, {"NAME"}});
  for (const Attached& one : participants) {
    rows.add_row({fmt::format("{}", one.participant), std::string(to_string(one.role)), fmt::format("{}", one.pid),
                  one.alive ? Cell(one.keeper ? "keeper" : "attached", Tone::kGood) : Cell("gone", Tone::kBad),
                  one.name});
  }
  rows.print(context.style);
}

int show_info(const Context& context) {
  const auto segment = watch_segment(context);
  if (!segment.ok()) return fail("segment info", segment.error());
  const auto participants = attached_to(**segment);
  const SlotCounts slots = count_slots(**segment);
  if (context.json) {
    print_info_json(**segment, participants, slots);
  } else {
    print_info(**segment, participants, slots, context);
  }
  return kExitOk;
}

Run build_info(CommandLine&) { return show_info; }

// ---- destroy

// Nothing when it may be destroyed without --force.
Result<std::string> what_is_lost(const Result<std::shared_ptr<shm::Segment>>& attached, bool force) {
  if (!attached.ok()) {
    if (attached.error().code == Errc::kNotFound || force) return std::string("unreadable");
    Error error = attached.error();
    error.message += "; --force destroys it all the same";
    return error;
  }
  const shm::Segment& segment = **attached;
  std::vector<std::string> alive;
  for (const Attached& one : attached_to(segment)) {
    if (one.alive) {
      alive.push_back(fmt::format("{} {} (pid {})", to_string(one.role), one.name, one.pid));
    }
  }
  if (!alive.empty() && !force) {
    return Error{Errc::kRefused,
                 fmt::format("{} still attached, first {}; stop them, or use --force: they would "
                             "work on unseen in memory that nobody else can reach",
                             alive.size() == 1 ? "1 participant is" : fmt::format("{} participants are", alive.size()),
                             alive.front())};
  }
  const SlotCounts slots = count_slots(segment);
  std::string lost = fmt::format("{}, {}", plural(slots.unfinished(), "unfinished task"),
                                 plural(slots.of(shm::State::kDead), "dead letter"));
  if (!alive.empty()) lost += fmt::format(", {} cut off", plural(alive.size(), "participant"));
  return lost;
}

int destroy_segment(bool force, const Context& context) {
  const auto attached = watch_segment(context);
  if (!attached.ok() && attached.error().code == Errc::kNotFound) {
    return fail("segment destroy", attached.error());
  }
  const auto lost = what_is_lost(attached, force);
  if (!lost.ok()) return fail("segment destroy", lost.error());
  switch (ask_consent(context, fmt::format("destroy segment {} ({})", context.namespace_name, *lost))) {
    case Consent::kDryRun: return kExitOk;
    case Consent::kRefused: return kExitUsage;
    case Consent::kGiven: break;
  }
  if (const auto gone = shm::Segment::destroy(context.namespace_name); !gone.ok()) {
    return fail("segment destroy", gone.error());
  }
  fmt::print("destroyed {} ({})\n", context.namespace_name, *lost);
  return kExitOk;
}

Run build_destroy(CommandLine& line) {
  auto force = std::make_shared<bool>(false);
  line.flag("--force", force.get(), "even while participants are attached, or when it is unreadable");
  return [force](const Context& context) { return destroy_segment(*force, context); };
}

}  // namespace

std::vector<Command> segment_commands() {
  std::vector<Command> rows{
      {.path = "segment create",
       .group = Group::kHost,
       .help = "Make a segment of a chosen size",
       .details = "Producers and workers make one of the default size by themselves; this is for "
                  "another. Memory is used when tasks use it.",
       .examples = {{"stem segment create", "the default namespace, the default size"},
                    {"stem segment create --namespace big --slots 4000000 --block-bytes 16GiB", ""}},
       .traits = kReads,
       .build = build_create},
      {.path = "segment list",
       .group = Group::kHost,
       .help = "The segments of this user",
       .examples = {{"stem segment list --json", ""}},
       .traits = kReads,
       .build = build_list},
      {.path = "segment info",
       .group = Group::kHost,
       .help = "Geometry, use by section, participants and keeper",
       .examples = {{"stem segment info --namespace demo", ""}},
       .traits = kReads,
       .build = build_info},
  };
  rows.push_back({.path = "segment destroy",
                  .group = Group::kHost,
                  .help = "Remove a segment and every task in it",
                  .details = "Refuses while anybody is attached, unless --force is given.",
                  .examples = {{"stem segment destroy --namespace demo --dry-run", ""},
                               {"stem segment destroy --namespace demo --yes", ""}},
                  .traits = kDestroys,
                  .build = build_destroy});
  return rows;
}

}  // namespace stem::cli
