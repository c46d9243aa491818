#include "beat/segment_board.hpp"

namespace stem::beat {

using engine::EnqueueStatus;
using engine::TickStatus;
using shm::TurnWord;
using What = FireResult::What;

FireResult SegmentBoard::fire(const StoredEntry& stored, const Tick& tick, const Now& now) {
  shm::ScheduleRow& r = row(stored.row);
  const TurnWord turn(r.turn.load(std::memory_order_acquire));
  if (turn.open()) {  // of somebody who was killed, or is slow
    engine_.complete_turn(stored.row, turn);
    return {.what = What::kStale, .task = {}, .message = {}};
  }
  // After the turn: as long as it stands, these stand.
  if (store_.fired_ns(stored) != stored.figures.fired_ns) return {.what = What::kStale, .task = {}, .message = {}};
  if (store_.word_of(stored.row).bits() != stored.word.bits())
    return {.what = What::kChanged, .task = {}, .message = {}};
  auto spec = maker_.make(tick, now);
  if (!spec.ok())
    return {.what = What::kNoTask, .status = EnqueueStatus::kTooLarge, .task = {}, .message = spec.error().message};
  const engine::TickResult result = engine_.fire_tick(*spec, stored.row, tick.planned_ns, turn, now.monotonic_ns);
  if (result.status == TickStatus::kRefused) return refused(result.enqueue);
  return {.what = result.status == TickStatus::kLost ? What::kLost : What::kFired,
          .task = to_string(result.enqueue.id),
          .message = {}};
}

FireResult SegmentBoard::refused(const engine::EnqueueResult& result) const {
  FireResult answer{.what = What::kRefused,
                    .status = result.status,
                    .task = to_string(result.id),
                    .message = to_string(result.status)};
  if (result.status == EnqueueStatus::kTooLarge) answer.what = What::kNoTask;
  if (result.status != EnqueueStatus::kDuplicate) return answer;
  // The holder of a unique key may itself be a tick that nobody has chosen: it will be let go, or be gone.
  const shm::ControlWord word = engine_.segment().descriptor(result.id.slot()).control.load();
  const bool undecided = word.generation() == result.id.generation() &&
                         (word.state() == shm::State::kWaiting || word.state() == shm::State::kAlloc);
  answer.what = undecided ? What::kBusy : What::kDuplicate;
  return answer;
}

void SegmentBoard::note(const StoredEntry& stored, const FireResult& result, std::int64_t drift_ns, const Now& now) {
  shm::ScheduleRow& r = row(stored.row);
  switch (result.what) {
    case What::kFired:
      r.fired_at_ns.store(now.realtime_ns, std::memory_order_relaxed);
      r.drift_ns.store(drift_ns, std::memory_order_relaxed);
      r.last_status.store(0, std::memory_order_relaxed);
      return;
    case What::kDuplicate: r.deduplicated.fetch_add(1, std::memory_order_relaxed); return;
    case What::kRefused:
    case What::kNoTask:
      r.failed.fetch_add(1, std::memory_order_relaxed);
      r.last_status.store(static_cast<std::uint32_t>(result.status), std::memory_order_relaxed);
      return;
    default: return;
  }
}

void SegmentBoard::note_skipped(const StoredEntry& stored, std::uint64_t count) {
  row(stored.row).skipped.fetch_add(count, std::memory_order_relaxed);
}

}  // namespace stem::beat
