// The schedules of one segment (docs/beat.md, "How a tick becomes one task").
#pragma once

#include "beat/board.hpp"

namespace stem::beat {

class SegmentBoard final : public Board {
 public:
  SegmentBoard(ScheduleStore& store, TickMaker& maker) : store_(store), engine_(store.engine()), maker_(maker) {}

  std::uint32_t row_total() override { return store_.row_total(); }
  std::uint64_t stamp_of(std::uint32_t row) override { return store_.word_of(row).bits(); }
  std::optional<StoredEntry> read(std::uint32_t row, std::uint64_t stamp) override {
    return store_.read(row, shm::DefinitionWord(stamp));
  }
  std::int64_t fired_ns(const StoredEntry& stored) override { return store_.fired_ns(stored); }
  FireResult fire(const StoredEntry& stored, const Tick& tick, const Now& now) override;
  void note(const StoredEntry& stored, const FireResult& result, std::int64_t drift_ns, const Now& now) override;
  void note_skipped(const StoredEntry& stored, std::uint64_t count) override;

 private:
  [[nodiscard]] shm::ScheduleRow& row(std::uint32_t row) const { return engine_.segment().schedule(row); }
  FireResult refused(const engine::EnqueueResult& result) const;

  ScheduleStore& store_;
  engine::Engine& engine_;
  TickMaker& maker_;
};

}  // namespace stem::beat
