#include "api/waiting.hpp"

#include <algorithm>

#include "base/clock.hpp"
#include "base/spin_pause.hpp"
#include "engine/control.hpp"
#include "engine/former.hpp"
#include "engine/query.hpp"
#include "shm/doorbell.hpp"

namespace stem::api {
namespace {

constexpr std::int64_t kSpinNs = 20'000;
constexpr int kLooksPerClockRead = 32;
constexpr std::int64_t kSliceNs = 50'000'000;  // a ring that was lost (its ringer killed) costs at most this

// The quick look: one load. True when a closer look is worth it; also for an id that this segment does not
// know. An item of a run may be over while the run is not, so it always needs the closer look.
bool over(const shm::Segment& segment, TaskId id) noexcept {
  if (id.item() != 0) return true;
  const shm::ControlWord word = segment.descriptor(id.slot()).control.load();
  if (word.generation() != id.generation()) return true;
  return word.state() == shm::State::kFree || word.state() == shm::State::kDone || word.state() == shm::State::kDead;
}

bool known(const shm::Segment& segment, TaskId id) noexcept {
  return id.epoch == segment.epoch() && id.slot() < segment.slots_used();
}

bool spin_until_over(engine::Engine& engine, TaskId id, std::int64_t until_ns, detail::Finished& end) {
  do {
    for (int i = 0; i < kLooksPerClockRead; ++i) {
      if (over(engine.segment(), id) && finished(engine, id, end)) return true;
      base::spin_pause();
    }
  } while (base::monotonic_ns() < until_ns);
  return false;
}

}  // namespace

Error timed_out(TaskId id) { return {Errc::kTimeout, "task " + to_string(id) + " is not over yet"}; }

bool finished(engine::Engine& engine, TaskId id, detail::Finished& into) {
  engine::FailureRecord failure{};
  switch (engine::read_result(engine, id, into.result, failure)) {
    case engine::ResultState::kPending: return false;
    case engine::ResultState::kSucceeded: into.state = TaskState::kSucceeded; return true;
    case engine::ResultState::kCancelled: into.state = TaskState::kCancelled; break;
    case engine::ResultState::kFailed:
    case engine::ResultState::kDead: into.state = TaskState::kDead; break;
    case engine::ResultState::kGone: into.state = TaskState::kGone; break;
  }
  into.result.clear();
  into.error_kind = failure.kind();
  into.message = failure.message();
  return true;
}

Result<detail::Finished> wait_for_end(engine::Engine& engine, TaskId asked, std::int64_t timeout_ns) {
  const TaskId id = engine::current_id(engine.segment(), asked);
  detail::Finished end;
  shm::Participant& self = engine.self();
  shm::Segment& segment = engine.segment();
  if (!known(segment, id)) return end;
  const std::int64_t started_ns = base::monotonic_ns();
  const std::int64_t deadline_ns = timeout_ns >= INT64_MAX - started_ns ? INT64_MAX : started_ns + timeout_ns;
  if (spin_until_over(engine, id, std::min(started_ns + kSpinNs, deadline_ns), end)) return end;
  for (;;) {
    const std::int64_t left_ns = deadline_ns - base::monotonic_ns();
    const std::uint32_t bell = shm::prepare_sleep(self);
    shm::set_waiter_bit(self, id.handle);
    bool ended = over(segment, id) && finished(engine, id, end);
    if (!ended && left_ns > 0) (void)shm::park(self, bell, std::min(left_ns, kSliceNs));
    shm::clear_waiter_bit(self);
    ended = ended || (over(segment, id) && finished(engine, id, end));
    if (ended) return end;
    if (left_ns <= 0) return timed_out(id);
  }
}

Result<TaskState> task_state(engine::Engine& engine, TaskId asked) {
  const TaskId id = engine::current_id(engine.segment(), asked);
  if (!known(engine.segment(), id)) return TaskState::kGone;
  for (;;) {
    detail::Finished end;
    if (finished(engine, id, end)) return end.state;
    const shm::Descriptor& d = engine.segment().descriptor(id.slot());
    const shm::ControlWord word = d.control.load();
    const std::uint32_t grant = word.grant();
    const shm::TaggedWord tally(d.tally[grant % 2].load(std::memory_order_acquire));
    const bool failed_before = grant != 0 && tally.grant() == grant && shm::Tally::unpack(tally.value()).attempts > 0;
    if (d.control.load() != word || word.generation() != id.generation()) continue;
    switch (word.state()) {
      case shm::State::kReady: return failed_before ? TaskState::kRetried : TaskState::kQueued;
      case shm::State::kDelayed: return failed_before ? TaskState::kRetried : TaskState::kDelayed;
      case shm::State::kWaiting:
      case shm::State::kOutbox: return TaskState::kQueued;
      case shm::State::kLeased:
      case shm::State::kSettling:
      case shm::State::kQuarantine: return TaskState::kRunning;
      case shm::State::kRetiring: return TaskState::kCancelled;
      case shm::State::kAlloc: return TaskState::kGone;
      case shm::State::kFree:
      case shm::State::kDone:
      case shm::State::kDead: continue;  // it ended between the two looks
    }
  }
}

std::optional<Progress> task_progress(engine::Engine& engine, TaskId asked) {
  const TaskId id = engine::current_id(engine.segment(), asked);
  if (!known(engine.segment(), id)) return {};
  const shm::ControlWord word = engine.segment().descriptor(id.slot()).control.load();
  if (word.generation() != id.generation() || word.state() != shm::State::kLeased) return {};
  engine::Progress said;
  if (!engine::read_progress(engine, id.slot(), word, id.item(), said)) return {};
  return Progress{said.fraction, std::move(said.data)};
}

Result<TaskState> revoke_task(engine::Engine& engine, TaskId id, bool terminate, std::int64_t now_ns) {
  switch (engine::Control(engine).revoke(id, terminate, now_ns)) {
    case engine::Revoked::kCancelled: return TaskState::kCancelled;
    case engine::Revoked::kAsked:
    case engine::Revoked::kExported:
    case engine::Revoked::kRunning: return TaskState::kRunning;
    case engine::Revoked::kOver: return Error{Errc::kRefused, "task " + to_string(id) + " is over already"};
    case engine::Revoked::kUnknown:
      return Error{Errc::kNotFound, "no task " + to_string(id) + " in this segment, or it is over and forgotten"};
  }
  return Error{Errc::kSystem, "unexpected answer"};
}

}  // namespace stem::api
