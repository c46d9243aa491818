#include "federation/shared_board.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "federation/beat_scripts.hpp"
#include "federation/json_record.hpp"

namespace stem::federation {

using beat::FireResult;
using beat::StoredEntry;
using What = FireResult::What;

std::string tick_id(std::string_view schedule, std::int64_t planned_ns) {
  return fmt::format("beat:{}:{}", schedule, beat::write_utc(planned_ns));
}

std::uint32_t SharedBoard::row_total() {
  const std::int64_t now_ns = base::monotonic_ns();
  if (looked_ns_ == 0 || now_ns - looked_ns_ >= options_.look_ns) look();
  return static_cast<std::uint32_t>(rows_.size());
}

// A row keeps its place for as long as this process lives.
void SharedBoard::look() {
  const auto there = schedules_.look();
  if (!there.ok()) return;  // what we know stands; firing says whether it is right
  looked_ns_ = base::monotonic_ns();
  for (Row& row : rows_) row.version = 0;
  for (const SharedSchedules::Row& one : *there) {
    const auto [at, is_new] = row_of_.try_emplace(one.id, static_cast<std::uint32_t>(rows_.size()));
    if (is_new) rows_.emplace_back();
    static_cast<SharedSchedules::Row&>(rows_[at->second]) = one;
    if (!one.sending) continue;
    const auto sent = schedules_.send_tick(one.id);
    if (!sent.ok() && !rows_[at->second].waits)
      log::warn("a tick waits for its queue", {{"schedule", one.id}, {"error", sent.error().message}});
    rows_[at->second].waits = !sent.ok();
  }
}

std::optional<StoredEntry> SharedBoard::read(std::uint32_t row, std::uint64_t stamp) {
  Row& r = rows_[row];
  if (stamp == 0 || r.unreadable == stamp) return std::nullopt;
  std::string why;
  auto stored = schedules_.find(r.id, &why);
  if (!stored.ok()) return std::nullopt;
  if (!*stored && !why.empty()) {
    log::warn("a schedule in Redis makes no sense", {{"schedule", r.id}, {"error", why}});
    r.unreadable = stamp;
  }
  if (!*stored || (*stored)->word.bits() != stamp) return std::nullopt;
  (*stored)->row = row;
  return std::move(*stored);
}

// A task that never was in a slot, as if it had been.
Result<void> SharedBoard::write(const engine::TaskSpec& spec, const beat::Tick& tick, const beat::Now& now,
                                Envelope& into) const {
  engine::TaskView view;
  view.queue = spec.queue;
  view.task = spec.task;
  view.priority = spec.priority;
  view.max_retries = spec.max_retries;
  if (spec.keep_result) view.flags |= shm::kKeepResult;
  if (!spec.auto_renew) view.flags |= shm::kNoRenew;
  if (spec.in_place) view.flags |= shm::kInPlace;
  view.enqueued_ns = now.monotonic_ns;
  view.payload = spec.payload;
  view.has_extras = spec.extras != nullptr;
  if (view.has_extras) view.extras = *spec.extras;
  transcript_.write(view, /*let_go=*/false, {now.monotonic_ns, now.realtime_ns / 1000}, into);
  into.id = tick_id(tick.entry.id, tick.planned_ns);
  return options_.signer == nullptr ? Result<void>() : options_.signer->sign(into);
}

FireResult SharedBoard::fire(const StoredEntry& stored, const beat::Tick& tick, const beat::Now& now) {
  FireResult result;
  const auto no_task = [&result](const Error& why) {
    result.what = What::kNoTask;
    result.message = why.message;
    return result;
  };
  if (const auto good = check_shared(tick.entry); !good.ok()) return no_task(good.error());
  const auto spec = maker_.make(tick, now);
  if (!spec.ok()) return no_task(spec.error());
  Envelope envelope;
  if (const auto written = write(*spec, tick, now, envelope); !written.ok()) return no_task(written.error());
  const auto said = ask_to_fire(stored, tick, now, envelope);
  if (!said.ok()) {  // done or not: the entry says, when it is asked again
    looked_ns_ = 0;
    result.what = What::kRefused;
    result.status = engine::EnqueueStatus::kFull;
    result.message = said.error().message;
    return result;
  }
  if (said->empty()) return no_task({Errc::kRefused, "an answer of Redis makes no sense"});
  result.what = *said == "fired" ? What::kFired : *said == "changed" ? What::kChanged : What::kStale;
  result.task = envelope.id;
  return result;
}

// The script's word, when the tick is in its stream or will not come there by us; empty for nonsense.
Result<std::string> SharedBoard::ask_to_fire(const StoredEntry& stored, const beat::Tick& tick, const beat::Now& now,
                                             const Envelope& envelope) {
  const Keys& keys = schedules_.keys();
  const std::string key = keys.schedule(tick.entry.id), index = keys.schedule_index(),
                    history = keys.schedule_history(tick.entry.id), sending = keys.schedule_sending(tick.entry.id),
                    stream = keys.stream(envelope.queue, static_cast<int>(envelope.priority)),
                    marker = keys.tick(envelope.queue, tick.entry.id);
  const std::string version = fmt::to_string(stored.word.bits()), fired = fmt::to_string(stored.figures.fired_ns),
                    planned = fmt::to_string(tick.planned_ns), score = next_score(stored, tick.planned_ns),
                    fired_at = fmt::to_string(now.realtime_ns),
                    drift = fmt::to_string(now.realtime_ns - tick.planned_ns - tick.entry.jitter_of(tick.planned_ns));
  const StreamFields fields(envelope.view());
  std::vector<std::string_view> argv{"EVAL",
                                     keys.cluster() ? kBeginFireScript : kFireScript,
                                     "4",
                                     key,
                                     index,
                                     history,
                                     keys.cluster() ? std::string_view(sending) : std::string_view(stream)};
  argv.insert(argv.end(), {tick.entry.id, version, fired, planned, score, fired_at, drift, envelope.id, options_.host});
  if (keys.cluster()) argv.insert(argv.end(), {stream, marker});
  fields.append_to(argv);
  for (bool again = false;; again = true) {
    const auto answer = schedules_.redis().ask(argv);
    if (!answer.ok()) return answer.error();
    if (answer->elements.size() < 3) return std::string();
    Row& row = rows_[stored.row];
    row.version = static_cast<std::uint64_t>(parse_wire_number(answer->elements[1].text).value_or(0));
    row.fired_ns = parse_wire_number(answer->elements[2].text).value_or(row.fired_ns);
    const std::string& said = answer->elements[0].text;
    if (keys.cluster() && (said == "fired" || said == "sending"))
      if (auto sent = schedules_.send_tick(tick.entry.id); !sent.ok()) return sent.error();
    if (said != "sending") return said;
    if (again) return Error{Errc::kRefused, "a tick before this one is on its way, and stays there"};
  }
}

void SharedBoard::count(const StoredEntry& stored, std::string_view what, std::uint64_t by) {
  const std::string key = schedules_.keys().schedule(stored.entry.id), number = fmt::to_string(by);
  (void)schedules_.redis().ask({"EVAL", kCountScript, "1", key, what, number});
}

void SharedBoard::note(const StoredEntry& stored, const FireResult& result, std::int64_t, const beat::Now&) {
  if (result.what == What::kNoTask) count(stored, "failed", 1);
}

void SharedBoard::note_skipped(const StoredEntry& stored, std::uint64_t how_many) {
  count(stored, "skipped", how_many);
}

}  // namespace stem::federation
