#include "journal/rewrite.hpp"

#include <algorithm>

#include "journal/batch.hpp"
#include "journal/image.hpp"
#include "journal/live_set.hpp"

namespace stem::journal {
namespace {

constexpr std::uint64_t kBatchBytes = 1u << 20;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

struct Known {
  LiveSet live;
  std::vector<Contents> contents;  // what the live set points into
  ReadReport report;
};

Result<void> read(Store& store, OnDamage on_damage, Known& known) {
  auto report = read_journal(
      store, on_damage, [&](const Record& r) { return known.live.apply(r); }, &known.contents);
  if (!report.ok()) return report.error();
  known.report = std::move(*report);
  known.live.fold_moved_items();  // the images that say so are written no more once they are over
  if (known.report.damage.empty() || on_damage == OnDamage::kSkip) return {};
  return Error{Errc::kCorrupt, describe(known.report.damage.front())};
}

bool has_names(const Epoch& epoch, const Life& life) {
  const auto knows = [&epoch](const auto& head) {
    return epoch.queues.contains(head.queue) && epoch.tasks.contains(head.task);
  };
  if (const auto run = life.run ? read_run(life.image) : std::nullopt) return knows(run->head);
  const auto image = read_task(life.image, life.state);
  return image && knows(image->head);
}

std::uint64_t count_unnamed(const LiveSet& live) {
  std::uint64_t count = 0;
  for (const auto& [id, epoch] : live.epochs())
    for (const Life& life : epoch.lives) count += has_names(epoch, life) ? 0 : life.count();
  return count;
}

// Writes what is alive behind what there is.
class Rewriter {
 public:
  Rewriter(Store& store, std::uint64_t file_bytes, LogPosition last) : log_(store, file_bytes, last) {}

  Result<void> write(const LiveSet& live) {
    live_ = &live;
    put_settings();
    for (const auto& [id, schedule] : live.schedules()) {
      if (schedule.definition.empty()) continue;
      append_schedule(batch_, id, schedule.definition);
      if (schedule.fired_ns != 0) append_tick(batch_, id, schedule.fired_ns);
      if (batch_.bytes() < kBatchBytes) continue;
      if (auto flushed = flush(); !flushed.ok()) return flushed;
    }
    for (const auto& [id, epoch] : live.epochs())
      if (auto done = write_epoch(id, epoch); !done.ok()) return done;
    if (auto flushed = flush(); !flushed.ok()) return flushed;
    // An empty one behind them: damage to the last must not look like a torn tail.
    batch_.clear();
    if (auto sealed = log_.start(batch_); !sealed.ok()) return sealed;
    return log_.finish();
  }

 private:
  // A file stands by itself: here each batch does.
  void put_names(std::uint32_t id, const Epoch& epoch) {
    for (const auto& [kind, names] : {std::pair(NameKind::kQueue, &epoch.queues), {NameKind::kTask, &epoch.tasks}})
      for (const auto& [number, name] : *names) {
        batch_.begin(static_cast<std::uint32_t>(RecordType::kNames));
        batch_.put(NamesHead{id, static_cast<std::uint16_t>(kind), 1, number});
        batch_.put(static_cast<std::uint16_t>(name.size()));
        batch_.put_bytes(bytes_of(name));
        batch_.end();
      }
  }

  void put(RecordType type, std::span<const std::byte> body) {
    batch_.begin(static_cast<std::uint32_t>(type));
    batch_.put_bytes(body);
    batch_.end();
  }

  Result<void> write_epoch(std::uint32_t id, const Epoch& epoch) {
    bool named = false;
    for (const Life& life : epoch.lives) {
      if (!life.alive() || !has_names(epoch, life)) continue;
      if (!named) put_names(id, epoch);
      named = true;
      put(life.run ? RecordType::kRun : life.over ? RecordType::kResult : RecordType::kTask, life.image);
      if (life.items_over != 0) append_items(batch_, {id, life.slot, life.began}, life.items_over);
      if (!life.state.empty()) put(RecordType::kState, life.state);
      if (batch_.bytes() < kBatchBytes) continue;
      if (auto flushed = flush(); !flushed.ok()) return flushed;
      named = false;
    }
    return {};
  }

  Result<void> flush() {
    if (batch_.empty()) return {};
    if (auto started = log_.start(batch_); !started.ok()) return started;
    if (auto done = log_.finish(); !done.ok()) return done;
    batch_.clear();
    put_settings();
    return {};
  }

  void put_settings() {
    for (const auto& [name, settings] : live_->queues()) append_settings(batch_, name, settings);
  }

  const LiveSet* live_ = nullptr;
  Log log_;
  Batch batch_;
};

}  // namespace

Result<Rewritten> examine_journal(Store& store, OnDamage on_damage) {
  Known known;
  if (auto done = read(store, on_damage, known); !done.ok()) return done.error();
  const std::uint64_t files = known.report.files.size();
  const std::uint64_t unnamed = count_unnamed(known.live);
  return Rewritten{known.live.alive() - unnamed, unnamed, files, files, known.report.damage};
}

// The new files first, which say the same again; then the old ones go, from the oldest on, each for good before the
// next: what is left in between is a journal that has been compacted that far.
Result<Rewritten> rewrite_journal(Store& store, std::uint64_t file_bytes, OnDamage on_damage) {
  Known known;
  if (auto done = read(store, on_damage, known); !done.ok()) return done.error();
  Rewriter rewriter(store, file_bytes, known.report.last);
  if (auto done = rewriter.write(known.live); !done.ok()) return done.error();
  for (const FileReport& file : known.report.files) {
    if (auto gone = store.remove(file_name(file.sequence)); !gone.ok()) return gone.error();
    if (auto synced = store.sync_names(); !synced.ok()) return synced.error();
  }
  auto after = examine_journal(store, OnDamage::kStop);
  if (!after.ok()) return after.error();
  return Rewritten{after->tasks, count_unnamed(known.live), known.report.files.size(), after->files_after,
                   known.report.damage};
}

}  // namespace stem::journal
