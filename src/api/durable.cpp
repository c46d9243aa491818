// What a producer owes to queues with a journal (docs/journal.md).
#include <algorithm>

#include "api/producer.hpp"
#include "engine/control.hpp"
#include "shm/names.hpp"

namespace stem::api {
namespace {

constexpr std::int64_t kSliceNs = 50'000'000;      // a wake that was lost costs at most this
constexpr std::int64_t kShortSliceNs = 1'000'000;  // until there may be room for another hint

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

std::unique_ptr<Error> Producer::refuse_undurable(std::uint32_t queue) const {
  const shm::Segment& segment = engine_.segment();
  if (shm::durability_of(segment, queue) == shm::Durability::kMemory) return nullptr;
  return shm::journal_runs(segment, now_ns()) ? nullptr : boxed(not_durable(segment, queue, kNobodyWrites));
}

// False: the journal stopped before, and nobody knows.
bool Producer::reaches_disk(TaskId last) {
  shm::Segment& segment = engine_.segment();
  // A hint of our own, behind those of all of them, pushed until it finds room: the writer comes to it last. Where one
  // of theirs found none, it has been told before, and looks at every slot before it says that it has come this far.
  shm::Ring hints = shm::journal_hints(segment);
  while (!shm::note_for_journal(segment, hints, last.generation(), last.slot()) && shm::journal_runs(segment, now_ns()))
    (void)shm::await_journal(segment, hints.tail(), kShortSliceNs);
  const std::uint64_t position = hints.tail();
  while (shm::journal_runs(segment, now_ns()))
    if (shm::await_journal(segment, position, kSliceNs)) return true;
  return false;
}

std::unique_ptr<Error> Producer::await_holder(std::uint32_t queue, TaskId holder) {
  const shm::Segment& segment = engine_.segment();
  if (shm::durability_of(segment, queue) != shm::Durability::kSync || reaches_disk(holder)) return nullptr;
  return boxed(not_durable(segment, queue,
                           "another task has the unique key, and the journal stopped taking records before it was "
                           "known to be on disk"));
}

std::unique_ptr<Error> Producer::make_durable(std::uint32_t queue, std::span<const TaskId> ids, std::size_t& kept) {
  kept = ids.size();
  shm::Segment& segment = engine_.segment();
  if (shm::durability_of(segment, queue) != shm::Durability::kSync) return nullptr;
  if (ids.empty()) return nullptr;
  if (reaches_disk(ids.back())) return nullptr;
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
                           kept == 0 ? "the journal stopped taking records, nothing was enqueued"
                                     : "the journal stopped taking records; the task runs already, and "
                                       "whether it survives a power cut is not known"));
}

}  // namespace stem::api
