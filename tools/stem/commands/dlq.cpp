// `stem dlq list|show|replay|purge`.
#include <fmt/format.h>

#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "engine/query.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/consent.hpp"
#include "tools/stem/dlq/selection.hpp"
#include "tools/stem/dlq/shelf.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/table.hpp"
#include "tools/stem/task/task_report.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

using engine::DeadLetter;
using nlohmann::ordered_json;

constexpr std::uint64_t kListed = 50;
constexpr const char* kWhatIsShared = "the dead letters that are in Redis";

std::string letters_text(std::uint64_t count) { return fmt::format("{} dead letter{}", count, count == 1 ? "" : "s"); }

// ---- list

ordered_json letter_json(const DeadLetter& letter, const shm::Segment& segment, const Moment& now) {
  ordered_json object{{"id", to_string(letter.id)},
                      {"task", task_name_of(letter, segment)},
                      {"queue", queue_name_of(letter, segment)},
                      {"attempts", letter.failure.attempts},
                      {"enqueuedAt", write_time(now.to_realtime_ns(letter.enqueued_ns))},
                      {"deadAt", write_time(now.to_realtime_ns(letter.failure.at_ns))},
                      {"reason", nullptr},
                      {"fingerprint", fingerprint_text(letter.failure.fingerprint)},
                      {"error", {{"kind", letter.failure.kind()}, {"message", letter.failure.message()}}}};
  if (letter.failure.reason != 0) object["reason"] = reason_text(letter.failure.reason);
  return object;
}

void print_list(const SelectedLetters& selected, const DeadSelection& selection, const shm::Segment& segment,
                const Context& context) {
  const Moment now = Moment::now();
  Table table({{"ID"},
               {"TASK", Align::kLeft, true},
               {"ATTEMPTS", Align::kRight},
               {"DEAD-AT"},
               {"REASON", Align::kLeft, true},
               {"FINGERPRINT"}});
  for (const DeadLetter& letter : selected.letters) {
    table.add_row({to_string(letter.id), task_name_of(letter, segment), fmt::format("{}", letter.failure.attempts),
                   write_time(now.to_realtime_ns(letter.failure.at_ns)),
                   std::string(reason_text(letter.failure.reason)), fingerprint_text(letter.failure.fingerprint)});
  }
  if (table.empty()) {
    fmt::print("{}\n", selected.matching == 0 ? "no dead letters" : "no more dead letters");
    return;
  }
  table.print(context.style);
  const std::uint64_t end = selection.offset + selected.letters.size();
  if (end < selected.matching) {
    fmt::print("\n{} of {}; go on with --offset {}\n", selected.letters.size(), selected.matching, end);
  }
}

int list_letters(DeadSelection selection, const Context& context) {
  if (!selection.limit) selection.limit = kListed;
  const auto attached = Attachment::watch(context);
  if (!attached.ok()) return fail("dlq list", attached.error());
  const auto selected = select(selection, *attached);
  if (!selected.ok()) return fail("dlq list", selected.error());
  if (!context.json) {
    print_list(*selected, selection, attached->segment(), context);
    return kExitOk;
  }
  const Moment now = Moment::now();
  ordered_json rows = ordered_json::array();
  for (const DeadLetter& letter : selected->letters) {
    rows.push_back(letter_json(letter, attached->segment(), now));
  }
  print_json({{"matching", selected->matching}, {"offset", selection.offset}, {"letters", rows}});
  return kExitOk;
}

Run build_list(CommandLine& line) {
  auto selection = std::make_shared<DeadSelection>();
  auto redis = std::make_shared<RedisChoice>();
  declare_selection(line, *selection);
  declare_all_hosts(line, *redis, kWhatIsShared);
  return [selection, redis](const Context& context) {
    return redis->is_cluster() ? list_shelf(*selection, *redis, context) : list_letters(*selection, context);
  };
}

// ---- show

int show_letters(const DeadSelection& selection, const Context& context) {
  if (selection.ids.empty()) {
    return fail("dlq show", {Errc::kInvalidArgument, "ID is missing; 'stem dlq list' has them"});
  }
  const auto attached = Attachment::watch(context);
  if (!attached.ok()) return fail("dlq show", attached.error());
  const auto selected = select(selection, *attached);
  if (!selected.ok()) return fail("dlq show", selected.error());
  const engine::Query query(attached->engine());
  ordered_json rows = ordered_json::array();
  bool first = true;
  for (const DeadLetter& letter : selected->letters) {
    const auto task = query.task(letter.id);
    if (!task) continue;  // replayed or purged since
    engine::DeadFilter alike;
    alike.queue = letter.queue;
    alike.fingerprint = letter.failure.fingerprint;
    const std::size_t count = engine::DeadLetters(attached->engine()).list(alike).size();
    if (context.json) {
      ordered_json row = task_json(*task, *attached);
      row["alike"] = count;
      rows.push_back(std::move(row));
      continue;
    }
    if (!first) fmt::print("\n");
    first = false;
    print_task(*task, *attached, context.style);
    if (count > 1) fmt::print("{:<12} {} failed alike in this queue\n", "group", letters_text(count));
  }
  if (context.json) print_json(rows);
  return kExitOk;
}

Run build_show(CommandLine& line) {
  auto selection = std::make_shared<DeadSelection>();
  auto more = std::make_shared<std::vector<std::string>>();
  line.arguments("ID", more.get(), "ids of dead letters");
  line.texts("--id", &selection->ids, "the same").named("ID");
  auto redis = std::make_shared<RedisChoice>();
  declare_all_hosts(line, *redis, kWhatIsShared);
  return [selection, more, redis](const Context& context) {
    DeadSelection all = *selection;
    all.ids.insert(all.ids.end(), more->begin(), more->end());
    if (!redis->is_cluster()) return show_letters(all, context);
    if (all.ids.empty())
      return fail("dlq show", {Errc::kInvalidArgument, "ID is missing; 'stem dlq list --all-hosts' has them"});
    return show_shelf(all, *redis, context);
  };
}

// ---- replay and purge

struct Act {
  std::string_view command;  // "dlq replay"
  std::string_view verb;     // "replay"
  std::string_view done;     // "replayed"
};

// False when there is nothing to act on, or no consent; `code` says how to end.
bool may_act(const Act& act, const SelectedLetters& selected, const shm::Segment& segment, const Context& context,
             int& code) {
  const BlastRadius radius(selected.letters, segment);
  code = kExitOk;
  if (selected.letters.empty()) {
    if (context.json) {
      print_json({{"dryRun", context.dry_run}, {act.done, 0}, {"skipped", 0}, {"blastRadius", radius.json()}});
    } else {
      fmt::print("no dead letters match\n");
    }
    return false;
  }
  if (context.json && context.dry_run) {
    print_json({{"dryRun", true}, {act.done, 0}, {"skipped", 0}, {"blastRadius", radius.json()}});
  } else if (!context.json && !context.yes) {
    radius.print();
  }
  switch (ask_consent(context, fmt::format("{} {}", act.verb, letters_text(selected.letters.size())))) {
    case Consent::kDryRun: return false;
    case Consent::kRefused: code = kExitUsage; return false;
    case Consent::kGiven: break;
  }
  return true;
}

template <class One>
int act_on(const Act& act, const DeadSelection& selection, const Context& context, One one) {
  const auto attached = Attachment::open(context);
  if (!attached.ok()) return fail(act.command, attached.error());
  const auto selected = select(selection, *attached);
  if (!selected.ok()) return fail(act.command, selected.error());
  int code = kExitOk;
  if (!may_act(act, *selected, attached->segment(), context, code)) return code;
  engine::DeadLetters dead(attached->engine());
  std::uint64_t done = 0;
  std::uint64_t skipped = 0;  // somebody else was quicker
  for (const DeadLetter& letter : selected->letters) {
    ++(one(dead, letter, done) ? done : skipped);
  }
  if (context.json) {
    print_json({{"dryRun", false},
                {act.done, done},
                {"skipped", skipped},
                {"blastRadius", BlastRadius(selected->letters, attached->segment()).json()}});
  } else {
    fmt::print("{} {}{}\n", act.done, letters_text(done),
               skipped == 0 ? "" : fmt::format("; {} had gone meanwhile", skipped));
  }
  return kExitOk;
}

struct ReplayOptions {
  DeadSelection selection;
  RedisChoice redis;
  std::int64_t delay_ns = 0;
  std::optional<base::Rate> rate;
};

// The wait of the n-th when so many start in every period: in exact steps, so that no rounding adds up.
std::int64_t spaced_ns(const base::Rate& rate, std::uint64_t n) {
  const auto exact = static_cast<__int128>(n) * rate.period_ns / static_cast<__int128>(rate.count);
  return exact > std::numeric_limits<std::int64_t>::max() / 4 ? std::numeric_limits<std::int64_t>::max() / 4
                                                              : static_cast<std::int64_t>(exact);
}

int replay_letters(const ReplayOptions& options, const Context& context) {
  if (options.delay_ns > std::numeric_limits<std::int64_t>::max() / 4) {
    return fail("dlq replay", {Errc::kInvalidArgument, "--delay: more than 70 years"});
  }
  const auto wait_ns = [&options](std::uint64_t n) {
    return options.delay_ns + (options.rate ? spaced_ns(*options.rate, n) : 0);
  };
  if (options.redis.is_cluster()) return replay_shelf(options.selection, wait_ns, options.redis, context);
  return act_on({"dlq replay", "replay", "replayed"}, options.selection, context,
                [&](engine::DeadLetters& dead, const DeadLetter& letter, std::uint64_t n) {
                  return dead.replay(letter, wait_ns(n), base::monotonic_ns());
                });
}

Run build_replay(CommandLine& line) {
  auto options = std::make_shared<ReplayOptions>();
  declare_selection(line, options->selection);
  line.duration_ns("--delay", &options->delay_ns, "not before this has passed");
  line.rate("--rate", &options->rate, "spread them out, as 10/s");
  declare_all_hosts(line, options->redis, kWhatIsShared);
  return [options](const Context& context) { return replay_letters(*options, context); };
}

int purge_letters(const DeadSelection& selection, const Context& context) {
  return act_on({"dlq purge", "purge", "purged"}, selection, context,
                [](engine::DeadLetters& dead, const DeadLetter& letter, std::uint64_t) { return dead.purge(letter); });
}

Run build_purge(CommandLine& line) {
  auto selection = std::make_shared<DeadSelection>();
  auto redis = std::make_shared<RedisChoice>();
  declare_selection(line, *selection);
  declare_all_hosts(line, *redis, kWhatIsShared);
  return [selection, redis](const Context& context) {
    return redis->is_cluster() ? purge_shelf(*selection, *redis, context) : purge_letters(*selection, context);
  };
}

}  // namespace

std::vector<Command> dlq_commands() {
  return {
      {.path = "dlq list",
       .group = Group::kTasks,
       .help = "Dead letters, oldest first",
       .details = "Those of this host. A task that died on another host than its own is in Redis: --all-hosts lists "
                  "those, newest last; what is there and no dead letter has an id that begins with raw: and can "
                  "only be purged.",
       .examples = {{"stem dlq list -q mail --since 1h", ""},
                    {"stem dlq list --redis redis://broker", "of all hosts"},
                    {"stem dlq list --reason poison-pill --json", ""}},
       .traits = kReads,
       .build = build_list},
      {.path = "dlq show",
       .group = Group::kTasks,
       .help = "One dead letter: the whole task and its failure",
       .examples = {{"stem dlq show 1f2e3d4c-00000000abc00012", ""}},
       .traits = kReads,
       .build = build_show},
      {.path = "dlq replay",
       .group = Group::kTasks,
       .help = "Queue dead letters again, with all their attempts",
       .details = "Oldest first. --rate gives each its time, so that nobody has to stay: the tasks "
                  "wait in the queue as delayed ones.",
       .examples = {{"stem dlq replay -q mail --dry-run", "what it would touch"},
                    {"stem dlq replay --fingerprint 3f9a0c51d2e47b86 --rate 10/s --yes", ""}},
       .traits = kReads | kDestroys,
       .build = build_replay},
      {.path = "dlq purge",
       .group = Group::kTasks,
       .help = "Remove dead letters for good",
       .examples = {{"stem dlq purge -q mail --reason unregistered-task --dry-run", ""}},
       .traits = kReads | kDestroys,
       .build = build_purge}};
}

}  // namespace stem::cli
