// The schedules of a segment: any process sees and changes them, and they survive any process. docs/beat.md has the
// protocol and what a crash at each point leaves behind.
//
// One store per attached thread; not thread-safe. Every change is one CAS of a row's definition word from the value
// that was read, so of two changes at once one is told and repeated.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "beat/entry.hpp"
#include "engine/engine.hpp"

namespace stem::beat {

// What a row says of its ticks; for people.
struct TickFigures {
  std::int64_t fired_ns = 0;     // planned time of the last fired tick; 0 = none
  std::int64_t fired_at_ns = 0;  // when that was
  std::int64_t drift_ns = 0;     // how late
  std::uint64_t fired = 0, failed = 0, skipped = 0, deduplicated = 0;
  engine::EnqueueStatus last_status = engine::EnqueueStatus::kOk;
};

struct StoredEntry {
  std::uint32_t row = 0;
  shm::DefinitionWord word{0};
  Entry entry;
  std::int64_t created_ns = 0;  // CLOCK_REALTIME
  std::int64_t since_ns = 0;    // ticks count from here: it came, its spec changed, or it was enabled
  std::int64_t floor_ns = 0;    // planned time of the last tick before a reboot; 0 = none
  TickFigures figures;

  // The next planned time after what was fired, as seen at `now_ns`; nothing when it is disabled or over.
  [[nodiscard]] std::optional<std::int64_t> next_planned_ns(std::int64_t now_ns) const;
  // The time after which its next tick is looked for.
  [[nodiscard]] std::int64_t base_ns(std::int64_t now_ns) const;
  // It fires once, and has.
  [[nodiscard]] bool is_over() const;
};

enum class Change : std::uint8_t { kNone, kCreated, kChanged, kRemoved };

class ScheduleStore {
 public:
  explicit ScheduleStore(engine::Engine& engine) : engine_(engine), segment_(engine.segment()) {}

  [[nodiscard]] engine::Engine& engine() const { return engine_; }

  // Ordered by id. Rows that make no sense are left out.
  [[nodiscard]] std::vector<StoredEntry> list() const;
  [[nodiscard]] std::optional<StoredEntry> find(std::string_view id) const;
  // The entry of a row, if it still is this definition.
  [[nodiscard]] std::optional<StoredEntry> read(std::uint32_t row, shm::DefinitionWord word) const;
  [[nodiscard]] shm::DefinitionWord word_of(std::uint32_t row) const noexcept;
  // The planned time of the last tick of a row's entry, before a reboot or since.
  [[nodiscard]] std::int64_t fired_ns(const StoredEntry& entry) const noexcept;
  [[nodiscard]] std::uint32_t row_total() const noexcept { return segment_.schedule_total(); }

  // Makes the entry be there just so. Its ticks count from now when it is new, its spec or zone changed, or it was
  // disabled before; otherwise they go on. kFull, kNoMemory, kTooLarge.
  Result<Change> put(const Entry& entry, std::int64_t now_ns);
  // kNone when there was none.
  Result<Change> remove(std::string_view id);

  // ---- for the journal (docs/journal.md)
  // The definition of a row as it lies in the segment, if it still is this one; opaque but for its id.
  [[nodiscard]] std::optional<std::string> definition(std::uint32_t row, shm::DefinitionWord word) const;
  static std::optional<std::string> id_of(std::string_view definition);
  // Whether this program can bring it back: it may be of a newer one, or of a zone that is not installed here.
  static bool makes_sense(std::string_view definition);
  // Brings back an entry of a segment that is gone, whose last tick was planned for `fired_ns` (0 = none): its ticks go
  // on after that. An entry of the same id and spec that has come since goes on from there too; another is left alone
  // (kNone). kCorrupt when the definition makes no sense.
  Result<Change> restore(std::string_view definition, std::int64_t fired_ns);

  // Memory for the table before its first use. kNoMemory when /dev/shm is full.
  Result<void> prepare_table() const;

 private:
  struct Written {
    shm::BlockId block = shm::kNoBlock;
    std::uint64_t filling = 0;  // its tag
  };

  Result<Written> write(std::string_view id, const std::string& text, std::int64_t floor_ns);
  void drop(const Written& written) noexcept;
  void settle(const Written& written, std::uint32_t row, std::uint32_t version) noexcept;
  void free_replaced(std::uint32_t row, shm::DefinitionWord old) noexcept;
  Result<bool> insert(const Entry& entry, const std::string& text, std::int64_t floor_ns, shm::DirectoryWord directory);
  bool replace(const StoredEntry& old, const Written& written) noexcept;
  Result<std::uint32_t> free_row();
  shm::DirectoryWord closed_directory() noexcept;
  void complete_insert(shm::DirectoryWord directory) noexcept;

  engine::Engine& engine_;
  shm::Segment& segment_;
};

}  // namespace stem::beat
