#include "tools/stem/dashboard/acts.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "engine/query.hpp"
#include "tools/stem/dashboard/api.hpp"
#include "tools/stem/dashboard/gate.hpp"

namespace stem::cli {
namespace {

using engine::Revoked;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr double kFastestReplay = 1e6;  // a second
constexpr std::size_t kMostIds = 1000;

WebAnswer refused(const Error& error) {
  switch (error.code) {
    case Errc::kInvalidArgument: return refusal(400, error.message);
    case Errc::kNotFound: return refusal(404, error.message);
    default: return refusal(503, error.message);
  }
}

Result<std::string> text_in(const json& given, const char* name, bool needed) {
  const auto it = given.find(name);
  if (it == given.end() || it->is_null())
    return needed ? Result<std::string>(Error{Errc::kInvalidArgument, fmt::format("'{}' is missing", name)})
                  : Result<std::string>(std::string());
  if (!it->is_string()) return Error{Errc::kInvalidArgument, fmt::format("'{}' must be text", name)};
  return it->get<std::string>();
}

Result<engine::TaskId> task_id_in(const json& given) {
  const auto text = text_in(given, "id", true);
  if (!text.ok()) return text.error();
  engine::TaskId id;
  if (!engine::parse_task_id(*text, id)) return Error{Errc::kInvalidArgument, "'id' is no task id"};
  return id;
}

using Done = Result<ordered_json>;

// ---- queues

Done set_paused(const json& given, const Attachment& attached, bool paused) {
  const auto name = text_in(given, "queue", true);
  if (!name.ok()) return name.error();
  const auto queue = queue_named(attached.segment(), *name);
  if (!queue.ok()) return queue.error();
  engine::Control control(attached.engine());
  paused ? control.pause(*queue, base::monotonic_ns()) : control.resume(*queue, base::monotonic_ns());
  return ordered_json{{"queue", *name}, {"paused", paused}};
}

Done pause_queue(const json& given, const Attachment& attached) { return set_paused(given, attached, true); }
Done resume_queue(const json& given, const Attachment& attached) { return set_paused(given, attached, false); }

// ---- tasks

std::string_view text_of(Revoked revoked) {
  switch (revoked) {
    case Revoked::kCancelled: return "cancelled";
    case Revoked::kAsked: return "asked";
    case Revoked::kRunning: return "running";
    case Revoked::kExported: return "exported";
    case Revoked::kOver: return "over";
    case Revoked::kUnknown: return "unknown";
  }
  return "unknown";
}

Done revoke_task(const json& given, const Attachment& attached) {
  const auto id = task_id_in(given);
  if (!id.ok()) return id.error();
  const auto terminate = given.find("terminate");
  const bool stop = terminate != given.end() && terminate->is_boolean() && terminate->get<bool>();
  const Revoked revoked = engine::Control(attached.engine()).revoke(*id, stop, base::monotonic_ns());
  if (revoked == Revoked::kUnknown) return Error{Errc::kNotFound, "no such task: it is over, or never was"};
  return ordered_json{{"id", to_string(*id)}, {"outcome", text_of(revoked)}};
}

Done retry_task(const json& given, const Attachment& attached) {
  const auto id = task_id_in(given);
  if (!id.ok()) return id.error();
  engine::DeadLetters dead(attached.engine());
  engine::DeadFilter filter;
  filter.id = *id;
  const auto letters = dead.list(filter);
  if (letters.empty()) return Error{Errc::kNotFound, "no such dead letter: it was replayed or purged already"};
  const bool done = dead.replay(letters.front(), 0, base::monotonic_ns());
  return ordered_json{{"id", to_string(*id)}, {"outcome", done ? "replayed" : "refused"}};
}

// ---- dead letters

Result<double> rate_in(const json& given) {
  const auto it = given.find("perSecond");
  if (it == given.end() || it->is_null()) return 0.0;
  if (!it->is_number()) return Error{Errc::kInvalidArgument, "'perSecond' must be a number"};
  const double rate = it->get<double>();
  if (!(rate > 0.001 && rate <= kFastestReplay))
    return Error{Errc::kInvalidArgument, "'perSecond' must be above 0.001 and at most a million"};
  return rate;
}

template <class One>
Done for_letters(const json& given, const Attachment& attached, const char* done_name, One one) {
  const auto seen = seen_letters(given);
  if (!seen.ok()) return seen.error();
  const auto selected = select_seen(*seen, attached);
  if (!selected.ok()) return selected.error();
  std::uint64_t done = 0;
  std::uint64_t skipped = 0;  // somebody else was quicker
  for (const engine::DeadLetter& letter : selected->letters) ++(one(letter, done) ? done : skipped);
  return ordered_json{{done_name, done}, {"skipped", skipped}};
}

Done replay_letters(const json& given, const Attachment& attached) {
  const auto rate = rate_in(given);
  if (!rate.ok()) return rate.error();
  engine::DeadLetters dead(attached.engine());
  return for_letters(given, attached, "replayed", [&](const engine::DeadLetter& letter, std::uint64_t n) {
    const double wait_ns = *rate == 0 ? 0 : static_cast<double>(n) * 1e9 / *rate;
    return dead.replay(letter, static_cast<std::int64_t>(std::min(wait_ns, 1e18)), base::monotonic_ns());
  });
}

Done purge_letters(const json& given, const Attachment& attached) {
  engine::DeadLetters dead(attached.engine());
  return for_letters(given, attached, "purged",
                     [&](const engine::DeadLetter& letter, std::uint64_t) { return dead.purge(letter); });
}

struct Act {
  std::string_view path;
  Done (*run)(const json& given, const Attachment& attached);
};

constexpr Act kActs[] = {
    {"/api/queue/pause", pause_queue}, {"/api/queue/resume", resume_queue}, {"/api/task/revoke", revoke_task},
    {"/api/task/retry", retry_task},   {"/api/dlq/replay", replay_letters}, {"/api/dlq/purge", purge_letters},
};

}  // namespace

Result<SeenLetters> seen_letters(const json& given) {
  SeenLetters seen;
  const auto queue = text_in(given, "queue", false);
  const auto reason = text_in(given, "reason", false);
  const auto fingerprint = text_in(given, "fingerprint", false);
  const auto up_to = text_in(given, "upTo", false);
  for (const auto* text : {&queue, &reason, &fingerprint, &up_to})
    if (!text->ok()) return text->error();
  if (!queue->empty()) seen.selection.queues = {*queue};
  engine::DeadReason known{};
  if (!reason->empty() && !engine::parse_dead_reason(*reason, known))
    return Error{Errc::kInvalidArgument, "'reason' is none that a task dies of"};
  if (!reason->empty()) seen.selection.reason = static_cast<std::uint8_t>(known);
  const auto number = [](const std::string& text, auto& into, int base) {
    const char* const end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data(), end, into, base);
    return text.empty() || (error == std::errc{} && last == end && into > 0);
  };
  if (!number(*fingerprint, seen.selection.fingerprint, 16))
    return Error{Errc::kInvalidArgument, "'fingerprint' is no fingerprint"};
  if (!number(*up_to, seen.up_to_ns, 10)) return Error{Errc::kInvalidArgument, "'upTo' is no moment of a dry run"};
  if (const auto ids = given.find("ids"); ids != given.end()) {
    if (!ids->is_array() || ids->size() > kMostIds || ids->empty())
      return Error{Errc::kInvalidArgument, fmt::format("'ids' must be a list of 1 to {} ids", kMostIds)};
    for (const json& id : *ids) {
      if (!id.is_string()) return Error{Errc::kInvalidArgument, "'ids' must be texts"};
      seen.selection.ids.push_back(id.get<std::string>());
    }
  }
  return seen;
}

Result<SelectedLetters> select_seen(const SeenLetters& seen, const Attachment& attachment) {
  auto selected = select(seen.selection, attachment);
  if (!selected.ok() || seen.up_to_ns == 0) return selected;
  std::erase_if(selected->letters, [&](const auto& letter) { return letter.failure.at_ns > seen.up_to_ns; });
  selected->matching = selected->letters.size();
  return selected;
}

WebAnswer act(const WebRequest& request, const Context& context) {
  for (const Act& one : kActs) {
    if (request.path != one.path) continue;
    const json given = json::parse(request.body, nullptr, /*allow_exceptions=*/false);
    if (!given.is_object()) return refusal(400, "the body must be a JSON object");
    const auto attached = Attachment::open(context);
    if (!attached.ok()) return refusal(503, attached.error().message);
    const Done done = one.run(given, *attached);
    const std::string said =
        done.ok() ? done->dump(-1, ' ', false, json::error_handler_t::replace) : done.error().message;
    log::info("dashboard act", {{"act", one.path}, {"client", request.client}, {"answer", said}});
    return done.ok() ? json_answer(*done) : refused(done.error());
  }
  return refusal(404, "no such act");
}

}  // namespace stem::cli
