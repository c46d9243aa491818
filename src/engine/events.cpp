// What the engine notes in its participant's event log (shm/event_log.hpp). After the change that it tells of: an
// event may be missing, but none tells of what did not happen.
#include <algorithm>
#include <bit>
#include <cstdio>

#include "engine/engine.hpp"
#include "engine/extension.hpp"
#include "engine/known_handle.hpp"
#include "engine/trace.hpp"

namespace stem::engine {

using shm::Event;
using shm::EventKind;

namespace {

Event event_of(EventKind kind, const TaskView& task, std::int64_t now_ns) {
  Event event;
  event.kind = kind;
  event.queue = static_cast<std::uint16_t>(task.queue);
  event.task = static_cast<std::uint16_t>(task.task);
  event.attempt = static_cast<std::uint16_t>(task.tally.attempts);
  event.at_ns = now_ns;
  // Who enqueued the item of a run knows it by that name, also when it has become a task of its own.
  event.handle = task.has_extras && task.extras.run_item != 0 ? task.extras.run_item : task.id.handle;
  return event;
}

// Of no task.
Event event_of(EventKind kind, std::uint32_t subject, std::int64_t value, std::string_view text, std::int64_t now_ns) {
  Event event;
  event.kind = kind;
  event.at_ns = now_ns;
  event.subject = subject;
  event.value = value;
  event.text = text;
  return event;
}

}  // namespace

std::uint64_t known_handle(Engine& engine, std::uint32_t slot, shm::ControlWord word) noexcept {
  const std::uint64_t own = TaskId::make(1, slot, word.generation()).handle;
  const shm::Descriptor& d = engine.segment().descriptor(slot);
  if ((d.flags & shm::kMovedOut) == 0 || d.block == 0) return own;
  std::uint32_t offset = 0;
  const auto extras = read_extension(
      engine.blocks().bytes(d.block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload)), offset);
  return extras && extras->run_item != 0 ? extras->run_item : own;
}

void Engine::tell(EventKind kind, const TaskView& task, std::int64_t value, std::int64_t now_ns) noexcept {
  Event event = event_of(kind, task, now_ns);
  event.value = value;
  events_.write(event);
}

void Engine::tell_failure(EventKind kind, const TaskView& task, std::uint8_t reason, const Failure& failure,
                          std::int64_t value, std::int64_t now_ns) noexcept {
  Event event = event_of(kind, task, now_ns);
  event.reason = reason;
  event.value = value;
  char text[256];  // more than an event takes: it cuts where a character ends
  const auto n =
      std::snprintf(text, sizeof text, "%.*s: %.*s", static_cast<int>(std::min<std::size_t>(failure.kind.size(), 48)),
                    failure.kind.data(), static_cast<int>(std::min<std::size_t>(failure.message.size(), 200)),
                    failure.message.data());
  if (n > 0) event.text = {text, std::min<std::size_t>(static_cast<std::size_t>(n), sizeof text - 1)};
  events_.write(event);
}

void Engine::tell_started(const TaskView& task, std::int64_t now_ns) noexcept {
  Event event = event_of(EventKind::kStarted, task, now_ns);
  event.value = std::max<std::int64_t>(0, now_ns - task.enqueued_ns);
  if (task.has_extras) event.text = traceparent_of(task.extras.headers);
  events_.write(event);
}

void Engine::tell_succeeded(const TaskView& task, std::int64_t started_ns, std::int64_t now_ns) noexcept {
  tell(EventKind::kSucceeded, task, std::max<std::int64_t>(0, now_ns - started_ns), now_ns);
}

void Engine::tell_received(const TaskView& task, std::int64_t now_ns) noexcept {
  tell(EventKind::kReceived, task, std::max<std::int64_t>(0, now_ns - task.enqueued_ns), now_ns);
}

void Engine::tell_done(const TaskView& task, std::string_view became, std::int64_t now_ns) noexcept {
  Event event = event_of(EventKind::kPostrun, task, now_ns);
  event.value = std::max<std::int64_t>(0, now_ns - started_ns());
  event.text = became;
  events_.write(event);
}

void Engine::tell_enqueued(EventKind kind, const TaskSpec& spec, std::uint64_t handle, std::int64_t now_ns) noexcept {
  Event event;
  event.kind = kind;
  event.queue = static_cast<std::uint16_t>(spec.queue);
  event.task = static_cast<std::uint16_t>(spec.task);
  event.attempt = spec.attempt;
  event.at_ns = now_ns;
  event.handle = handle;
  event.value = std::max<std::int64_t>(0, spec.due_ns - now_ns);
  if (spec.due_ns == 0) event.value = 0;
  if (spec.extras != nullptr) event.text = traceparent_of(spec.extras->headers);
  events_.write(event);
}

// The signal that a worker died of while it ran this task, as its crash handler wrote it down.
std::uint8_t Engine::death_of(std::uint32_t participant, std::uint64_t handle) const noexcept {
  const shm::CrashRecord& crash = segment_.row(participant).crash;
  if (crash.task.load(std::memory_order_acquire) != handle) return shm::kDied;
  const int signal = crash.signal;
  return signal > 0 && signal < shm::kFirstLoss ? static_cast<std::uint8_t>(signal) : shm::kDied;
}

std::uint8_t Engine::loss_of(std::uint32_t participant, std::uint64_t handle, LeaseEnd end) const noexcept {
  switch (end) {
    case LeaseEnd::kDied: return death_of(participant, handle);
    case LeaseEnd::kSilent: break;
    case LeaseEnd::kExpired: return shm::kLeaseOver;
    case LeaseEnd::kDetached: return shm::kLeftBehind;
    case LeaseEnd::kStopped: return shm::kStopped;
  }
  return shm::kSilent;
}

// A lease was taken from whom it belonged to. Its descriptor is read again: whatever it says by now, the event is of
// this life of the slot.
void Engine::tell_lost(std::uint32_t slot, shm::ControlWord word, std::uint32_t item, const LostLease& lost,
                       std::int64_t now_ns) noexcept {
  Event event;
  event.kind = EventKind::kRedelivered;
  event.handle = item != 0 ? TaskId::make(1, slot, word.generation(), item).handle : known_handle(*this, slot, word);
  event.reason = loss_of(word.owner() - 1, TaskId::make(1, slot, word.generation(), item).handle, lost.end);
  event.queue = static_cast<std::uint16_t>(lost.queue);
  event.task = static_cast<std::uint16_t>(lost.task);
  event.attempt = static_cast<std::uint16_t>(lost.attempts);
  event.at_ns = now_ns;
  event.subject = word.owner() - 1;
  event.value = lost.items;
  event.detail = lost.started ? 1 : 0;
  const shm::RosterRow& row = segment_.row(word.owner() - 1);
  event.text = {row.name, ::strnlen(row.name, sizeof row.name)};
  events_.write(event);
}

void Engine::tell_tick(const TaskSpec& spec, std::uint64_t handle, const TickNote& tick, std::int64_t now_ns) noexcept {
  Event event;
  event.kind = EventKind::kScheduled;
  event.queue = static_cast<std::uint16_t>(spec.queue);
  event.task = static_cast<std::uint16_t>(spec.task);
  event.at_ns = now_ns;
  event.handle = handle;
  event.subject = static_cast<std::uint32_t>(tick.row);
  event.value = tick.planned_ns;
  events_.write(event);
}

void Engine::tell_schedule(EventKind kind, std::uint32_t row, std::int64_t planned_ns, std::string_view text,
                           std::int64_t now_ns) noexcept {
  events_.write(event_of(kind, row, planned_ns, text, now_ns));
}

void Engine::tell_queue(EventKind kind, std::uint32_t queue, std::int64_t now_ns) noexcept {
  Event event;
  event.kind = kind;
  event.queue = static_cast<std::uint16_t>(queue);
  event.at_ns = now_ns;
  events_.write(event);
}

void Engine::tell_worker(EventKind kind, std::uint32_t process, std::int64_t value, std::string_view text,
                         std::int64_t now_ns) noexcept {
  events_.write(event_of(kind, process, value, text, now_ns));
}

}  // namespace stem::engine
