// What a producer owes to queues with a journal (docs/journal.md).
#include <algorithm>

#include "api/producer.hpp"
#include "base/clock.hpp"
#include "engine/control.hpp"
#include "shm/names.hpp"

namespace stem::api {
namespace {

constexpr std::int64_t kSliceNs = 50'000'000;  // a wake that was lost costs at most this

Error not_durable(const shm::Segment& segment, std::uint32_t queue, std::string_view what) {
  return {Errc::kNotDurable, "queue \"" + std::string(shm::queue_name(segment, queue)) + "\": " + std::string(what)};
}

constexpr std::string_view kNobodyWrites =
    "nobody writes the journal now, or its disk refuses; see `stem journal info`, and keep a `stem worker start` or a "
    "`stem journal serve` running";

// True when the task was taken back before anybody had started it, or is over, and so owes nothing.
bool settled_without_disk(engine::Engine& engine, TaskId id, std::int64_t now_ns, bool& taken_back) {
  const engine::Revoked answer = engine::Control(engine).revoke(id, /*terminate=*/false, now_ns);
  taken_back = answer == engine::Revoked::kCancelled;
  return taken_back || answer == engine::Revoked::kOver;
}

}  // namespace

std::unique_ptr<Error> Producer::refuse_undurable(std::uint32_t queue, std::size_t count) {
  const shm::Segment& segment = engine_.segment();
  if (shm::durability_of(segment, queue) == shm::Durability::kMemory) return nullptr;
  if (!shm::journal_runs(segment, now_ns())) return boxed(not_durable(segment, queue, kNobodyWrites));
  if (ahead_ + count <= kMostAhead / 2) return nullptr;
  // Half of them are behind the last checkpoint; the other half has to be on disk.
  if (checkpoint_ != 0 && !await_disk(checkpoint_)) return boxed(not_durable(segment, queue, kNobodyWrites));
  checkpoint_ = shm::journal_position(segment);
  ahead_ = 0;
  return nullptr;
}

// A task more of mode `journal` asks nobody: its writer lives, and the disk is not far behind.
bool Producer::may_go_ahead(std::uint32_t queue) const noexcept {
  const shm::Segment& segment = engine_.segment();
  return shm::durability_of(segment, queue) == shm::Durability::kJournal && ahead_ < kMostAhead / 2 &&
         shm::journal_runs(segment, now_ns());
}

// False: the journal stopped before.
bool Producer::await_disk(std::uint64_t position) {
  shm::Segment& segment = engine_.segment();
  while (shm::journal_runs(segment, now_ns()))
    if (shm::await_journal(segment, position, base::monotonic_ns() + kSliceNs)) return true;
  return false;
}

// False: the journal stopped before, and nobody knows.
bool Producer::reaches_disk(std::span<const TaskId> ids) {
  shm::Segment& segment = engine_.segment();
  // All of them: another's task, whose unique key stood in the way of ours, he may not have marked yet; and ours have no
  // mark if their queue had no journal then.
  shm::JournalMarks marks(segment);
  for (const TaskId id : ids.first(ids.size() - 1)) marks.set(id.slot());
  shm::note_for_journal(segment, marks, ids.back().slot());
  return await_disk(shm::journal_position(segment));
}

std::unique_ptr<Error> Producer::await_holder(std::uint32_t queue, TaskId holder) {
  const shm::Segment& segment = engine_.segment();
  if (shm::durability_of(segment, queue) != shm::Durability::kSync || reaches_disk({&holder, 1})) return nullptr;
  return boxed(not_durable(segment, queue,
                           "another task has the unique key, and the journal stopped taking records before it was "
                           "known to be on disk"));
}

std::unique_ptr<Error> Producer::make_durable(std::uint32_t queue, std::span<const TaskId> ids, std::size_t& kept) {
  kept = ids.size();
  shm::Segment& segment = engine_.segment();
  if (shm::durability_of(segment, queue) == shm::Durability::kMemory || ids.empty()) return nullptr;
  if (shm::durability_of(segment, queue) == shm::Durability::kJournal) {
    ahead_ += ids.size();
    return nullptr;
  }
  if (reaches_disk(ids)) return nullptr;
  bool all_over = true;
  while (kept > 0) {  // from the last one on, so that what stays are the first
    bool taken_back = false;
    if (!settled_without_disk(engine_, ids[kept - 1], now_ns(), taken_back)) break;
    all_over = all_over && !taken_back;
    --kept;
  }
  if (kept == 0 && all_over) {
    kept = ids.size();
    return nullptr;
  }
  return boxed(not_durable(segment, queue,
                           kept == 0 ? "the journal stopped taking records; the task was taken back (only a power cut "
                                       "before the journal is written again may bring it back)"
                                     : "the journal stopped taking records; the task runs already, and "
                                       "whether it survives a power cut is not known"));
}

std::unique_ptr<Error> Producer::keep_up(std::uint32_t queue, std::span<const detail::Enqueued> made) {
  const shm::Segment& segment = engine_.segment();
  if (shm::durability_of(segment, queue) != shm::Durability::kSync || made.empty()) return nullptr;
  std::vector<TaskId> ids;
  for (const detail::Enqueued& one : made) ids.push_back(one.id);
  if (reaches_disk(ids)) return nullptr;
  return boxed(not_durable(segment, queue,
                           "it became `sync` while these tasks were enqueued, and the journal stopped taking records "
                           "before they were known to be on disk"));
}

}  // namespace stem::api
