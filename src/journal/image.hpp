// Tasks between the segment and a journal's records.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "engine/former.hpp"
#include "engine/queue_settings.hpp"
#include "engine/run.hpp"
#include "journal/batch.hpp"
#include "journal/records.hpp"

namespace stem::journal {

// CLOCK_REALTIME minus CLOCK_MONOTONIC: what turns times of one into the other.
struct ClockShift {
  std::int64_t ns = 0;
  // Read anew, and believed where somebody has set the clock. The two cannot be read at once, and times that were turned
  // by readings a microsecond apart would not stand in the order of the tasks that they are of.
  void follow() noexcept;
  std::int64_t to_real(std::int64_t monotonic_ns) const { return moved(monotonic_ns, ns); }
  std::int64_t to_monotonic(std::int64_t real_ns) const { return moved(real_ns, -ns); }

 private:
  // 0 = none stays so. What a segment or a file says may be any number: none comes out that a later sum would overflow.
  static std::int64_t moved(std::int64_t time_ns, std::int64_t by_ns) {
    constexpr std::int64_t kFarNs = INT64_MAX / 4;
    if (time_ns == 0) return 0;
    return std::clamp(std::clamp(time_ns, -kFarNs, kFarNs) + std::clamp(by_ns, -kFarNs, kFarNs), -kFarNs, kFarNs);
  }
};

// Appends the kTask or kState record of the task in `slot`, which stands at `word`. False, and nothing was appended:
// it stands there no more, or makes no sense. `as`: the state it is said to be in.
// Of a schedule's tick, `tick` is what it says of itself.
bool append_task(Batch& batch, engine::Engine& engine, std::uint32_t slot, shm::ControlWord word, shm::State as,
                 ClockShift clock, std::optional<engine::TickNote>* tick = nullptr);
// The kResult record of a task that is over and whose result is kept, or that is waiting to be such a one again.
bool append_result(Batch& batch, engine::Engine& engine, std::uint32_t slot, shm::ControlWord word, ClockShift clock);
// The kRun record: what does not change while the run lives.
bool append_run(Batch& batch, engine::Engine& engine, std::uint32_t slot, shm::ControlWord word, ClockShift clock);
// The kItems record: these items are over.
void append_items(Batch& batch, TaskKey key, std::uint32_t over);
bool append_state(Batch& batch, engine::Engine& engine, std::uint32_t slot, shm::ControlWord word, ClockShift clock);
void append_end(Batch& batch, TaskKey key);
// Names [first, last) of a kind.
void append_names(Batch& batch, const shm::Segment& segment, NameKind kind, std::uint32_t first, std::uint32_t last);
void append_settings(Batch& batch, std::string_view queue, const engine::QueueSettings& settings);
// Without a definition: the entry was removed.
void append_schedule(Batch& batch, std::string_view id, std::string_view definition);
void append_tick(Batch& batch, std::string_view id, std::int64_t planned_ns);

// A task of a segment that is gone. Texts and payload point into the records; `links` are its own.
struct TaskImage {
  TaskHead head;
  TaskState state;
  engine::TaskExtras extras;
  std::int64_t unique_until_ns = 0;
  std::string link, link_error;
  std::span<const std::byte> payload;  // of one that is over, its result
  std::string_view failure_kind, failure_message;
  engine::FormerIds former;
  bool over() const { return state.outcome != 0; }
};
// From the body of a kTask or kResult record, and the body of a later kState record if there is one. Empty when it makes
// no sense.
std::optional<TaskImage> read_task(std::span<const std::byte> task, std::span<const std::byte> state);
// A run of a segment that is gone.
struct RunImage {
  RunRecord head;
  std::span<const std::byte> payloads[engine::kRunItems];
  // Item 1 .. head.count, as a task of its own.
  TaskImage item(std::uint32_t item) const;
};
// From the body of a kRun record, and of a kItems record. Empty when it makes no sense.
std::int64_t enqueued_in(std::span<const std::byte> image, bool run);
std::optional<RunImage> read_run(std::span<const std::byte> run);
std::optional<std::uint32_t> read_items(std::span<const std::byte> items);
// Whether the body of a kState record makes sense.
bool is_state(std::span<const std::byte> state);

}  // namespace stem::journal
