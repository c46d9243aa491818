// Who fires: one of any number of beat processes, by a lock that ends by itself. The lock saves double work; that no
// tick is fired twice does not rest on it (docs/beat.md), so a late holder does no harm.
#pragma once

#include <cstdint>

#include "engine/engine.hpp"

namespace stem::beat {

// One per beat process; called by its thread. Times are CLOCK_MONOTONIC.
class BeatLock {
 public:
  virtual ~BeatLock() = default;
  // Takes the lock when it is free or its holder is gone or late; renews it, by half its time, when it is ours.
  virtual bool hold(std::int64_t now_ns) = 0;
  // A cheap look before each tick: nobody else has taken it.
  [[nodiscard]] virtual bool still_ours() const = 0;
  // Goes up with every holder: what an earlier one says can be told from what a later one says.
  [[nodiscard]] virtual std::uint64_t token() const = 0;
  virtual void release() = 0;
  // When hold() is worth calling again.
  [[nodiscard]] virtual std::int64_t next_ns(std::int64_t now_ns) const = 0;
};

// The lock of one segment. The kernel's sign that the holder's thread has ended frees it at once; a holder that is
// stopped loses it when its time is over.
class SegmentLock final : public BeatLock {
 public:
  // The table of schedules has memory (ScheduleStore::prepare_table).
  SegmentLock(engine::Engine& engine, std::int64_t ttl_ns) : engine_(engine), ttl_ns_(ttl_ns) {}
  ~SegmentLock() override { release(); }
  SegmentLock(const SegmentLock&) = delete;
  SegmentLock& operator=(const SegmentLock&) = delete;

  bool hold(std::int64_t now_ns) override;
  [[nodiscard]] bool still_ours() const override;
  [[nodiscard]] std::uint64_t token() const override { return mine_.token(); }
  void release() override;
  [[nodiscard]] std::int64_t next_ns(std::int64_t now_ns) const override;

 private:
  static constexpr std::int64_t kLookNs = 100'000'000;  // how often a waiting process looks for a dead holder

  bool keep(std::int64_t now_ns);
  bool take(std::int64_t now_ns);
  bool holder_is_gone(shm::BeatLockWord word, std::int64_t now_ns);
  void write_until(std::int64_t now_ns);
  [[nodiscard]] shm::ScheduleTable& table() const { return engine_.segment().schedules(); }
  [[nodiscard]] std::int64_t to_ms(std::int64_t now_ns) const;

  engine::Engine& engine_;
  std::int64_t ttl_ns_;
  bool holding_ = false;
  shm::BeatLockWord mine_{0};
  std::int64_t renew_ns_ = 0;
  // A holder that was killed before it wrote its time down.
  std::uint64_t nameless_ = 0;
  std::int64_t nameless_since_ns_ = 0;
};

}  // namespace stem::beat
