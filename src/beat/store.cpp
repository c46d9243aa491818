#include "beat/store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace stem::beat {

using nlohmann::json;
using shm::BlockKind;
using shm::DefinitionWord;
using shm::DirectoryWord;
using shm::TurnWord;

namespace {

// A clock that was set back by more than this was wrong before: ticks go by the new time, as in cron(8).
constexpr std::int64_t kClockCorrectionNs = 3 * 3600 * kSecondNs;

constexpr std::size_t kMarkBytes = 32;  // of ,"fired":N

// A definition in its block: id_bytes (4) | id | JSON.
std::string encode(std::string_view id, const std::string& text) {
  const auto id_bytes = static_cast<std::uint32_t>(id.size());
  std::string bytes(sizeof id_bytes, '\0');
  std::memcpy(bytes.data(), &id_bytes, sizeof id_bytes);
  bytes += id;
  return bytes + text;
}

std::string text_of(const Entry& entry, std::int64_t created_ns, std::int64_t since_ns, std::int64_t floor_ns) {
  json document{{"entry", entry.to_json()}, {"created", created_ns}, {"since", since_ns}};
  if (floor_ns != 0) document["fired"] = floor_ns;
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

// The id and the JSON of a definition's bytes; empty when they are cut short.
std::optional<std::pair<std::string_view, std::string_view>> split(std::string_view bytes) {
  std::uint32_t id_bytes = 0;
  if (bytes.size() < sizeof id_bytes) return std::nullopt;
  std::memcpy(&id_bytes, bytes.data(), sizeof id_bytes);
  if (id_bytes > bytes.size() - sizeof id_bytes) return std::nullopt;
  return std::pair(bytes.substr(sizeof id_bytes, id_bytes), bytes.substr(sizeof id_bytes + id_bytes));
}

// What a definition's bytes say; from the segment, so anything may stand there.
std::optional<StoredEntry> decode(std::string_view bytes) {
  const auto parts = split(bytes);
  if (!parts) return std::nullopt;
  const std::string_view text = parts->second;
  if (json_depth(text) > kDeepestJson + 4) return std::nullopt;
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || !document.contains("entry") || !document.contains("since") ||
      !document.contains("created") || !document["since"].is_number_integer() ||
      !document["created"].is_number_integer() || !document.value("fired", json(0)).is_number_integer())
    return std::nullopt;
  auto entry = Entry::parse(document["entry"]);
  if (!entry.ok()) return std::nullopt;
  StoredEntry stored;
  stored.entry = std::move(*entry);
  stored.created_ns = document["created"].get<std::int64_t>();
  stored.since_ns = document["since"].get<std::int64_t>();
  stored.floor_ns = document.value("fired", std::int64_t{0});
  return stored;
}

TickFigures figures_of(const shm::ScheduleRow& row) {
  TickFigures f;
  f.fired_ns = row.fired_ns.load(std::memory_order_acquire);
  f.fired_at_ns = row.fired_at_ns.load(std::memory_order_relaxed);
  f.drift_ns = row.drift_ns.load(std::memory_order_relaxed);
  f.fired = row.fired.load(std::memory_order_relaxed);
  f.failed = row.failed.load(std::memory_order_relaxed);
  f.skipped = row.skipped.load(std::memory_order_relaxed);
  f.deduplicated = row.deduplicated.load(std::memory_order_relaxed);
  f.last_status = static_cast<engine::EnqueueStatus>(row.last_status.load(std::memory_order_relaxed));
  return f;
}

}  // namespace

bool StoredEntry::is_over() const { return entry.spec.run_once() && figures.fired_ns > since_ns; }

std::int64_t StoredEntry::base_ns(std::int64_t now_ns) const {
  const std::int64_t base = std::max(since_ns, figures.fired_ns);
  const auto every = entry.spec.every_ns();
  const std::int64_t ahead = every ? 2 * *every + kSecondNs : kClockCorrectionNs;
  return base > now_ns && base - now_ns > ahead ? now_ns : base;
}

std::optional<std::int64_t> StoredEntry::next_planned_ns(std::int64_t now_ns) const {
  if (!entry.enabled || is_over()) return std::nullopt;
  return entry.spec.next(base_ns(now_ns), since_ns, entry.zone);
}

DefinitionWord ScheduleStore::word_of(std::uint32_t row) const noexcept {
  // order(schedule.definition): acquire; pairs with replace() and complete_insert(); the bytes of the block.
  return DefinitionWord(segment_.schedule(row).definition.load(std::memory_order_acquire));
}

std::optional<std::string> ScheduleStore::definition(std::uint32_t row, DefinitionWord word) const {
  if (!word.has_entry()) return std::nullopt;
  shm::BlockHeader* header = engine_.blocks().header(word.block());
  if (header == nullptr) return std::nullopt;
  const std::uint64_t tag = header->tag.load(std::memory_order_acquire);
  const auto block = engine_.blocks().bytes(word.block(), tag);
  const std::uint32_t size = header->bytes;
  if (size > block.size()) return std::nullopt;
  std::string copy(reinterpret_cast<const char*>(block.data()), size);
  if (word_of(row).bits() != word.bits()) return std::nullopt;  // replaced meanwhile, perhaps its block used again
  return copy;
}

std::optional<std::string> ScheduleStore::id_of(std::string_view definition) {
  const auto parts = split(definition);
  return parts ? std::optional(std::string(parts->first)) : std::nullopt;
}

std::int64_t ScheduleStore::fired_ns(const StoredEntry& entry) const noexcept {
  return std::max(segment_.schedule(entry.row).fired_ns.load(std::memory_order_acquire), entry.floor_ns);
}

std::optional<StoredEntry> ScheduleStore::read(std::uint32_t row, DefinitionWord word) const {
  const auto bytes = definition(row, word);
  auto stored = bytes ? decode(*bytes) : std::nullopt;
  if (!stored) return std::nullopt;
  stored->row = row;
  stored->word = word;
  stored->figures = figures_of(segment_.schedule(row));
  stored->figures.fired_ns = fired_ns(*stored);
  return stored;
}

std::vector<StoredEntry> ScheduleStore::list() const {
  std::vector<StoredEntry> all;
  for (std::uint32_t row = 0; row < row_total(); ++row) {
    for (int looks = 0; looks < 8; ++looks) {  // it may be replaced while it is read
      const DefinitionWord word = word_of(row);
      if (!word.has_entry()) break;
      if (auto stored = read(row, word)) {
        all.push_back(std::move(*stored));
        break;
      }
      if (word_of(row).bits() == word.bits()) break;  // it makes no sense
    }
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.entry.id < b.entry.id; });
  return all;
}

std::optional<StoredEntry> ScheduleStore::find(std::string_view id) const {
  for (std::uint32_t row = 0; row < row_total(); ++row) {
    for (int looks = 0; looks < 8; ++looks) {
      const DefinitionWord word = word_of(row);
      auto stored = read(row, word);
      if (stored && stored->entry.id == id) return stored;
      if (stored || word_of(row).bits() == word.bits()) break;
    }
  }
  return std::nullopt;
}

Result<void> ScheduleStore::prepare_table() const {
  if (segment_.schedule_total() > 0 || segment_.commit_schedules(0)) return {};
  return Error{Errc::kNoMemory, "no memory for the table of schedules: /dev/shm is full"};
}

// ---- blocks

// `floor_ns`: the mark of the last tick that stands in `text`; what was accepted without it has room for it.
Result<ScheduleStore::Written> ScheduleStore::write(std::string_view id, const std::string& text,
                                                    std::int64_t floor_ns) {
  const std::string bytes = encode(id, text);
  if (bytes.size() > kLargestEntry + (floor_ns != 0 ? kMarkBytes : 0))
    return Error{Errc::kTooLarge,
                 fmt::format("the entry \"{}\" has {} bytes; at most {}", id, bytes.size(), kLargestEntry)};
  const shm::Participant& self = engine_.self();
  Written written;
  written.filling = shm::block_tag(self.index(), self.incarnation(), BlockKind::kFilling);
  written.block = engine_.blocks().take(static_cast<std::uint32_t>(bytes.size()), self.index(), self.incarnation(),
                                        BlockKind::kFilling);
  const auto into =
      written.block == shm::kNoBlock ? std::span<std::byte>{} : engine_.blocks().bytes(written.block, written.filling);
  if (into.size() < bytes.size())
    return Error{Errc::kNoMemory, "no memory for the entry: /dev/shm or the segment's payload space is full"};
  std::memcpy(into.data(), bytes.data(), bytes.size());
  engine_.blocks().header(written.block)->bytes = static_cast<std::uint32_t>(bytes.size());
  return written;
}

// It was never named by a row.
void ScheduleStore::drop(const Written& written) noexcept {
  engine_.blocks().give_back(written.block, engine_.self().index(), engine_.self().incarnation(), BlockKind::kFilling);
}

// The row names it: from now on it lives as long as that.
void ScheduleStore::settle(const Written& written, std::uint32_t row, std::uint32_t version) noexcept {
  (void)engine_.blocks().retag(written.block, written.filling, shm::block_tag(row, version, BlockKind::kSchedule));
}

// No row names it any more. One whose writer has not got round to settle() is freed by the patrol.
void ScheduleStore::free_replaced(std::uint32_t row, DefinitionWord old) noexcept {
  const shm::BlockHeader* header = engine_.blocks().header(old.block());
  if (header == nullptr) return;
  const std::uint64_t tag = header->tag.load(std::memory_order_acquire);
  if (shm::tag_kind(tag) == BlockKind::kSchedule && shm::tag_slot(tag) == row)
    engine_.blocks().give_back(old.block(), row, shm::tag_generation(tag), BlockKind::kSchedule);
}

// ---- the directory

// Entries come into the table one after the other; an open insertion is completed by whoever meets it.
DirectoryWord ScheduleStore::closed_directory() noexcept {
  for (;;) {
    const DirectoryWord word(segment_.schedules().directory.load(std::memory_order_acquire));
    if (!word.open()) return word;
    complete_insert(word);
  }
}

void ScheduleStore::complete_insert(DirectoryWord directory) noexcept {
  auto& cell = segment_.schedules().directory;
  while (directory.row() < row_total()) {
    shm::ScheduleRow& row = segment_.schedule(directory.row());
    std::uint64_t turn = row.turn.load(std::memory_order_acquire);
    std::int64_t fired_ns = row.fired_ns.load(std::memory_order_acquire);
    const DefinitionWord word = word_of(directory.row());
    // Everything above was read while the insertion was open: each change below is from a value that stands at
    // most once, so who comes late changes nothing.
    if (cell.load(std::memory_order_acquire) != directory.bits()) return;
    if (word.has_entry()) break;
    if (TurnWord(turn).open()) {
      engine_.complete_turn(directory.row(), TurnWord(turn));
      continue;
    }
    const DefinitionWord next = word.with_block(directory.block());
    const TurnWord renewed = TurnWord::renewed(next.version());
    // Those who were late for the row's previous entry are refused.
    if (turn != renewed.bits() && !row.turn.compare_exchange_strong(turn, renewed.bits(), std::memory_order_acq_rel))
      continue;
    if (fired_ns != 0) row.fired_ns.compare_exchange_strong(fired_ns, 0, std::memory_order_acq_rel);
    std::uint64_t was = word.bits();
    // order(schedule.definition): acq_rel; the bytes of the block, and the row's new turn, before the entry.
    (void)row.definition.compare_exchange_strong(was, next.bits(), std::memory_order_acq_rel);
    break;
  }
  std::uint64_t open = directory.bits();
  cell.compare_exchange_strong(open, directory.closed().bits(), std::memory_order_acq_rel);
}

// A row without an entry; a new one when all have one.
Result<std::uint32_t> ScheduleStore::free_row() {
  auto& used = segment_.header().schedules_used;
  for (;;) {
    std::uint32_t total = row_total();
    for (std::uint32_t row = 0; row < total; ++row)
      if (!word_of(row).has_entry()) return row;
    if (total == shm::kScheduleRows)
      return Error{Errc::kFull, fmt::format("the segment has {} schedules, as many as it can hold", total)};
    if (!segment_.commit_schedules(total + 1))
      return Error{Errc::kNoMemory, "no memory for another schedule: /dev/shm is full"};
    if (used.compare_exchange_strong(total, total + 1, std::memory_order_acq_rel)) return total;
  }
}

// False when somebody else was quicker: look again.
Result<bool> ScheduleStore::insert(const Entry& entry, const std::string& text, std::int64_t floor_ns,
                                   DirectoryWord directory) {
  auto row = free_row();
  if (!row.ok()) return row.error();
  auto written = write(entry.id, text, floor_ns);
  if (!written.ok()) return written.error();
  const DirectoryWord open = directory.opened(*row, written->block);
  std::uint64_t expected = directory.bits();
  // No entry has come into the table since the directory was read, so none of this id.
  if (!segment_.schedules().directory.compare_exchange_strong(expected, open.bits(), std::memory_order_acq_rel)) {
    drop(*written);
    return false;
  }
  complete_insert(open);
  // Perhaps it has been replaced already; then the patrol takes the block once this says that we are done with it.
  settle(*written, *row, word_of(*row).version());
  return true;
}

bool ScheduleStore::replace(const StoredEntry& old, const Written& written) noexcept {
  const DefinitionWord next =
      written.block == shm::kNoBlock ? old.word.without_entry() : old.word.with_block(written.block);
  // Whoever carried this entry into the table has finished: it cannot come a second time.
  (void)closed_directory();
  std::uint64_t was = old.word.bits();
  if (!segment_.schedule(old.row).definition.compare_exchange_strong(was, next.bits(), std::memory_order_acq_rel))
    return false;
  engine_.renew_turn(old.row, next.version());
  if (written.block != shm::kNoBlock) settle(written, old.row, next.version());
  free_replaced(old.row, old.word);
  return true;
}

Result<Change> ScheduleStore::put(const Entry& entry, std::int64_t now_ns) {
  if (auto good = prepare_table(); !good.ok()) return good.error();
  for (;;) {  // each failed round is another process's change
    const DirectoryWord directory = closed_directory();
    const auto old = find(entry.id);
    if (!old) {
      const auto came = insert(entry, text_of(entry, now_ns, now_ns, 0), 0, directory);
      if (!came.ok()) return came.error();
      if (*came) return Change::kCreated;
      continue;
    }
    if (old->entry.to_json() == entry.to_json()) return Change::kNone;
    const bool goes_on = old->entry.spec_written == entry.spec_written && old->entry.timezone == entry.timezone &&
                         (old->entry.enabled || !entry.enabled);
    auto written = write(entry.id, text_of(entry, old->created_ns, goes_on ? old->since_ns : now_ns, old->floor_ns),
                         old->floor_ns);
    if (!written.ok()) return written.error();
    if (replace(*old, *written)) return Change::kChanged;
    drop(*written);
  }
}

bool ScheduleStore::makes_sense(std::string_view definition) { return decode(definition).has_value(); }

Result<Change> ScheduleStore::restore(std::string_view definition, std::int64_t fired_ns) {
  const auto back = decode(definition);
  if (!back) return Error{Errc::kCorrupt, "the definition of a schedule makes no sense"};
  const std::int64_t floor_ns = std::max(back->floor_ns, fired_ns);
  if (auto good = prepare_table(); !good.ok()) return good.error();
  for (;;) {  // each failed round is another process's change
    const DirectoryWord directory = closed_directory();
    const auto old = find(back->entry.id);
    if (!old) {
      const auto came =
          insert(back->entry, text_of(back->entry, back->created_ns, back->since_ns, floor_ns), floor_ns, directory);
      if (!came.ok()) return came.error();
      if (*came) return Change::kCreated;
      continue;
    }
    const bool same = old->entry.spec_written == back->entry.spec_written &&
                      old->entry.timezone == back->entry.timezone && old->entry.enabled && back->entry.enabled;
    if (!same || (old->floor_ns >= floor_ns && old->since_ns <= back->since_ns)) return Change::kNone;
    auto written = write(old->entry.id,
                         text_of(old->entry, std::min(old->created_ns, back->created_ns),
                                 std::min(old->since_ns, back->since_ns), std::max(old->floor_ns, floor_ns)),
                         std::max(old->floor_ns, floor_ns));
    if (!written.ok()) return written.error();
    if (replace(*old, *written)) return Change::kChanged;
    drop(*written);
  }
}

Result<Change> ScheduleStore::remove(std::string_view id) {
  for (;;) {
    const auto old = find(id);
    if (!old) return Change::kNone;
    if (replace(*old, {})) return Change::kRemoved;
  }
}

}  // namespace stem::beat
