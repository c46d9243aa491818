#include "beat/lock.hpp"

#include <algorithm>

#include "shm/death.hpp"

namespace stem::beat {

using shm::BeatCounter;
using shm::BeatLockWord;
using shm::BeatUntilWord;

namespace {

void count(shm::ScheduleTable& table, BeatCounter counter) {
  table.counters[static_cast<int>(counter)].fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

std::int64_t SegmentLock::to_ms(std::int64_t now_ns) const {
  return (now_ns - engine_.segment().header().created_monotonic_ns) / 1'000'000;
}

bool SegmentLock::still_ours() const {
  return holding_ && table().lock.load(std::memory_order_acquire) == mine_.bits();
}

bool SegmentLock::hold(std::int64_t now_ns) { return holding_ ? keep(now_ns) : take(now_ns); }

bool SegmentLock::keep(std::int64_t now_ns) {
  if (!still_ours()) {  // we were late, and somebody else has it
    count(table(), BeatCounter::kLockRenewFailed);
    holding_ = false;
    return false;
  }
  if (now_ns >= renew_ns_) write_until(now_ns);
  return true;
}

// Only the holder writes it; a late one's value is of a token that is over.
void SegmentLock::write_until(std::int64_t now_ns) {
  auto& cell = table().lock_until;
  const BeatUntilWord until(mine_.token(), to_ms(now_ns + ttl_ns_));
  for (std::uint64_t was = cell.load(std::memory_order_acquire); still_ours();)
    if (cell.compare_exchange_weak(was, until.bits(), std::memory_order_acq_rel)) break;
  renew_ns_ = now_ns + ttl_ns_ / 2;
}

// Decision list: each reason to believe that nobody holds the lock any more.
bool SegmentLock::holder_is_gone(BeatLockWord word, std::int64_t now_ns) {
  shm::Segment& segment = engine_.segment();
  if (word.owner() == 0) return true;
  if (word.owner() > segment.geometry().participant_count) return true;
  shm::RosterRow& row = segment.row(word.owner() - 1);
  const std::uint64_t status = row.status.load(std::memory_order_acquire);
  if ((shm::row_incarnation(status) & 0xfffff) != word.incarnation()) return true;
  if (shm::row_state(status) != shm::RowState::kLive) return true;
  if (shm::signalled_dead(row)) return true;
  const BeatUntilWord until(table().lock_until.load(std::memory_order_acquire));
  if (until.of(word.token())) return until.until_ms() <= to_ms(now_ns);
  // It took the lock and has not said until when: it gets the whole time from now on.
  if (nameless_ != word.bits()) {
    nameless_ = word.bits();
    nameless_since_ns_ = now_ns;
  }
  return now_ns - nameless_since_ns_ >= ttl_ns_;
}

bool SegmentLock::take(std::int64_t now_ns) {
  std::uint64_t was = table().lock.load(std::memory_order_acquire);
  const BeatLockWord next = BeatLockWord(was).taken_by(engine_.self().owner(), engine_.self().incarnation());
  if (!holder_is_gone(BeatLockWord(was), now_ns) ||
      !table().lock.compare_exchange_strong(was, next.bits(), std::memory_order_acq_rel)) {
    count(table(), BeatCounter::kLockContended);
    return false;
  }
  holding_ = true;
  mine_ = next;
  count(table(), BeatCounter::kLockAcquired);
  write_until(now_ns);
  return true;
}

void SegmentLock::release() {
  if (!holding_) return;
  holding_ = false;
  std::uint64_t mine = mine_.bits();
  table().lock.compare_exchange_strong(mine, mine_.released().bits(), std::memory_order_acq_rel);
}

std::int64_t SegmentLock::next_ns(std::int64_t now_ns) const {
  return holding_ ? renew_ns_ : now_ns + std::min(ttl_ns_ / 4, kLookNs);
}

}  // namespace stem::beat
