#include "tools/stem/dlq/shelf.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/failure_record.hpp"
#include "federation/dead_shelf.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/consent.hpp"
#include "tools/stem/exit_code.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/table.hpp"
#include "tools/stem/task/task_report.hpp"
#include "tools/stem/terminal.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

using federation::ShelvedLetter;
using nlohmann::ordered_json;

constexpr std::uint64_t kListed = 50;

struct Shelf {
  RedisHold redis;
  std::vector<ShelvedLetter> letters;  // within limit and offset
  std::uint64_t matching = 0;
};

bool matches(const DeadSelection& selection, const ShelvedLetter& letter) {
  if (!selection.ids.empty() && std::find(selection.ids.begin(), selection.ids.end(), letter.id) == selection.ids.end())
    return false;
  if (selection.reason != 0 && letter.reason != reason_text(selection.reason)) return false;
  if (selection.fingerprint != 0 && letter.fingerprint != selection.fingerprint) return false;
  return !selection.since_realtime_ns || letter.dead_at_us >= *selection.since_realtime_ns / 1000;
}

Result<std::vector<ShelvedLetter>> read_all(const DeadSelection& selection, RedisHold& redis) {
  std::vector<std::string> queues = selection.queues;
  if (queues.empty()) {
    auto found = federation::queues_with_dead(*redis.client, redis.keys);
    if (!found.ok()) return found.error();
    queues = *std::move(found);
  }
  std::vector<ShelvedLetter> all;
  for (const std::string& queue : std::set<std::string>(queues.begin(), queues.end())) {
    auto letters = federation::dead_letters_of(*redis.client, redis.keys, queue);
    if (!letters.ok()) return letters.error();
    std::move(letters->begin(), letters->end(), std::back_inserter(all));
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const ShelvedLetter& a, const ShelvedLetter& b) { return a.dead_at_us < b.dead_at_us; });
  return all;
}

// All ids that are named must be there: half of a command must not happen.
Result<void> check_ids(const DeadSelection& selection, const std::vector<ShelvedLetter>& letters) {
  for (const std::string& id : selection.ids) {
    const bool there = std::any_of(letters.begin(), letters.end(), [&](const auto& one) { return one.id == id; });
    if (!there)
      return Error{Errc::kNotFound, fmt::format("no dead letter {} in Redis{}", shortened(printable(id), 80),
                                                selection.ids.size() == 1 ? "" : "; nothing was done")};
  }
  return {};
}

Result<Shelf> open_shelf(const DeadSelection& selection, const RedisChoice& choice, const Context& context) {
  auto redis = connect(choice, context);
  if (!redis.ok()) return redis.error();
  Shelf shelf{*std::move(redis), {}, 0};
  auto all = read_all(selection, shelf.redis);
  if (!all.ok()) return all.error();
  std::erase_if(*all, [&](const ShelvedLetter& letter) { return !matches(selection, letter); });
  if (auto there = check_ids(selection, *all); !there.ok()) return there.error();
  shelf.matching = all->size();
  const auto from = std::min<std::uint64_t>(selection.offset, all->size());
  const auto count = std::min<std::uint64_t>(selection.limit.value_or(all->size()), all->size() - from);
  shelf.letters.assign(std::make_move_iterator(all->begin() + static_cast<std::ptrdiff_t>(from)),
                       std::make_move_iterator(all->begin() + static_cast<std::ptrdiff_t>(from + count)));
  return shelf;
}

std::string dead_at(const ShelvedLetter& letter) {
  return letter.dead_at_us == 0 ? std::string() : write_time(letter.dead_at_us * 1000);
}

ordered_json letter_json(const ShelvedLetter& letter) {
  ordered_json object{{"id", letter.id},
                      {"task", letter.task},
                      {"queue", letter.queue},
                      {"attempts", letter.attempts},
                      {"deadAt", nullptr},
                      {"reason", nullptr},
                      {"fingerprint", fingerprint_text(letter.fingerprint)},
                      {"error", {{"kind", letter.error_kind}, {"message", letter.error_message}}},
                      {"replayable", letter.can_replay()}};
  if (letter.dead_at_us != 0) object["deadAt"] = dead_at(letter);
  if (!letter.reason.empty()) object["reason"] = letter.reason;
  return object;
}

std::vector<DeadRow> rows_of(const std::vector<ShelvedLetter>& letters) {
  std::vector<DeadRow> rows;
  for (const ShelvedLetter& letter : letters)
    rows.push_back({letter.queue, letter.task.empty() ? "unknown" : letter.task,
                    letter.reason.empty() ? "unknown" : letter.reason, letter.dead_at_us * 1000});
  return rows;
}

std::string letters_text(std::size_t count) { return fmt::format("{} dead letter{}", count, count == 1 ? "" : "s"); }

// ---- replay and purge

struct Act {
  std::string_view command, verb, done;
};

using One = std::function<Result<bool>(RedisHold&, const ShelvedLetter&, std::uint64_t n)>;

// False when there is nothing to act on, or no consent; `code` says how to end.
bool may_act(const Act& act, const Shelf& shelf, const Context& context, int& code) {
  const BlastRadius radius(rows_of(shelf.letters));
  code = kExitOk;
  if (context.json && (shelf.letters.empty() || context.dry_run))
    print_json({{"dryRun", context.dry_run}, {act.done, 0}, {"skipped", 0}, {"blastRadius", radius.json()}});
  if (shelf.letters.empty()) {
    if (!context.json) fmt::print("no dead letters match\n");
    return false;
  }
  if (!context.json && !context.yes) radius.print();
  switch (ask_consent(context, fmt::format("{} {}", act.verb, letters_text(shelf.letters.size())))) {
    case Consent::kDryRun: return false;
    case Consent::kRefused: code = kExitUsage; return false;
    case Consent::kGiven: break;
  }
  return true;
}

int act_on(const Act& act, const DeadSelection& selection, const RedisChoice& choice, const Context& context,
           bool replays, const One& one) {
  auto shelf = open_shelf(selection, choice, context);
  if (!shelf.ok()) return fail(act.command, shelf.error());
  // What is no task cannot become one: only who names it hears so.
  std::size_t never = 0;
  if (replays) never = std::erase_if(shelf->letters, [](const ShelvedLetter& letter) { return !letter.can_replay(); });
  if (never > 0)
    print_warning(
        fmt::format("{} no task: such can only be purged", never == 1 ? "1 is" : fmt::format("{} are", never)));
  int code = kExitOk;
  if (!may_act(act, *shelf, context, code)) return never > 0 && shelf->letters.empty() ? kExitFailed : code;
  std::uint64_t done = 0;
  std::uint64_t skipped = 0;  // somebody else was quicker
  for (const ShelvedLetter& letter : shelf->letters) {
    const auto moved = one(shelf->redis, letter, done);
    if (!moved.ok()) {
      print_error(fmt::format("{}: after {} of {}: {}", act.command, done, letters_text(shelf->letters.size()),
                              moved.error().message));
      return kExitFailed;
    }
    ++(*moved ? done : skipped);
  }
  if (context.json) {
    print_json({{"dryRun", false},
                {act.done, done},
                {"skipped", skipped},
                {"blastRadius", BlastRadius(rows_of(shelf->letters)).json()}});
  } else {
    fmt::print("{} {}{}\n", act.done, letters_text(done),
               skipped == 0 ? "" : fmt::format("; {} had gone meanwhile", skipped));
  }
  return never > 0 && !selection.ids.empty() ? kExitFailed : kExitOk;
}

void print_letter(const ShelvedLetter& letter) {
  const auto line = [](std::string_view name, std::string_view text) {
    if (!text.empty()) fmt::print("{:<12} {}\n", name, printable(text));
  };
  line("id", letter.id);
  line("task", letter.task);
  line("queue", letter.queue);
  line("attempts", std::to_string(letter.attempts));
  line("dead at", dead_at(letter));
  line("reason", letter.reason);
  line("fingerprint", fingerprint_text(letter.fingerprint));
  line("error", letter.error_kind.empty() ? letter.error_message
                                          : fmt::format("{}: {}", letter.error_kind, letter.error_message));
  if (!letter.letter) return line("text", letter.text);
  const federation::Envelope& envelope = letter.letter->envelope;
  line(envelope.payload ? "payload" : "args", envelope.payload ? *envelope.payload : envelope.args);
  line("headers", envelope.headers == "{}" ? "" : envelope.headers);
  line("meta", envelope.meta == "{}" ? "" : envelope.meta);
  line("details", letter.letter->meta == "{}" ? "" : letter.letter->meta);
}

}  // namespace

int list_shelf(const DeadSelection& asked, const RedisChoice& choice, const Context& context) {
  DeadSelection selection = asked;
  if (!selection.limit) selection.limit = kListed;
  const auto shelf = open_shelf(selection, choice, context);
  if (!shelf.ok()) return fail("dlq list", shelf.error());
  if (context.json) {
    ordered_json rows = ordered_json::array();
    for (const ShelvedLetter& letter : shelf->letters) rows.push_back(letter_json(letter));
    print_json({{"matching", shelf->matching}, {"offset", selection.offset}, {"letters", rows}});
    return kExitOk;
  }
  Table table({{"ID"},
               {"TASK", Align::kLeft, true},
               {"QUEUE", Align::kLeft, true},
               {"ATTEMPTS", Align::kRight},
               {"DEAD-AT"},
               {"REASON", Align::kLeft, true},
               {"FINGERPRINT"}});
  for (const ShelvedLetter& letter : shelf->letters)
    table.add_row({letter.id, letter.task, letter.queue, std::to_string(letter.attempts), dead_at(letter),
                   letter.letter ? Cell(letter.reason) : Cell("not a dead letter", Tone::kWarn),
                   fingerprint_text(letter.fingerprint)});
  if (table.empty()) {
    fmt::print("{}\n", shelf->matching == 0 ? "no dead letters" : "no more dead letters");
    return kExitOk;
  }
  table.print(context.style);
  const std::uint64_t end = selection.offset + shelf->letters.size();
  if (end < shelf->matching)
    fmt::print("\n{} of {}; go on with --offset {}\n", shelf->letters.size(), shelf->matching, end);
  return kExitOk;
}

int show_shelf(const DeadSelection& selection, const RedisChoice& choice, const Context& context) {
  const auto shelf = open_shelf(selection, choice, context);
  if (!shelf.ok()) return fail("dlq show", shelf.error());
  ordered_json rows = ordered_json::array();
  for (const ShelvedLetter& letter : shelf->letters) {
    ordered_json row = letter_json(letter);
    // Numbers beyond 64 bits would not survive a parse: the letter stays the text it is.
    row["letter"] = letter.text;
    rows.push_back(std::move(row));
    if (context.json) continue;
    if (rows.size() > 1) fmt::print("\n");
    print_letter(letter);
  }
  if (context.json) print_json(rows);
  return kExitOk;
}

int replay_shelf(const DeadSelection& selection, const std::function<std::int64_t(std::uint64_t)>& wait_ns,
                 const RedisChoice& choice, const Context& context) {
  return act_on({"dlq replay", "replay", "replayed"}, selection, choice, context, /*replays=*/true,
                [&wait_ns](RedisHold& redis, const ShelvedLetter& letter, std::uint64_t n) {
                  const std::int64_t wait = wait_ns(n);
                  const std::int64_t due_us = wait <= 0 ? 0 : (Moment::now().realtime_ns + wait) / 1000;
                  return federation::replay_letter(*redis.client, redis.keys, letter, due_us);
                });
}

int purge_shelf(const DeadSelection& selection, const RedisChoice& choice, const Context& context) {
  return act_on({"dlq purge", "purge", "purged"}, selection, choice, context, /*replays=*/false,
                [](RedisHold& redis, const ShelvedLetter& letter, std::uint64_t) {
                  return federation::purge_letter(*redis.client, redis.keys, letter);
                });
}

}  // namespace stem::cli
