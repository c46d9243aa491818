// An attached thread: its row in the roster, its proof of life, its reserve of free slots.
//
// Not thread-safe: a participant is one thread's. Only it writes words whose owner is its own number.
// Destroying it detaches: reserved slots go back, the row is free for the next.
//
// Three different things say that a participant is gone, and they are never mixed (docs/protocol.md):
// signal = the kernel marked row.alive (quick, thread exit); proof = its byte lock is free (certain);
// timeout = its heartbeat counter stands still (policy).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/random.hpp"
#include "shm/prefetch.hpp"
#include "shm/ring.hpp"
#include "shm/segment.hpp"

namespace stem::shm {

struct ParticipantOptions {
  Role role = Role::kClient;
  std::string name;
};

class Participant {
 public:
  // Takes a row. Rows of the dead that nobody has swept yet are passed over. kFull when none is free.
  static Result<std::unique_ptr<Participant>> join(std::shared_ptr<Segment> segment, const ParticipantOptions& options);
  // For who only looks: no row, no lock, no sign of life, and nobody waits for it. The segment may be mapped read-only
  // (Segment::watch()). All that changes anything is a programmer's error.
  static std::unique_ptr<Participant> watch(std::shared_ptr<Segment> segment);
  ~Participant();
  Participant(const Participant&) = delete;
  Participant& operator=(const Participant&) = delete;

  Segment& segment() const noexcept { return *segment_; }
  const std::shared_ptr<Segment>& segment_ptr() const noexcept { return segment_; }
  std::uint32_t index() const noexcept { return index_; }  // of a watcher: beyond the last
  bool watches() const noexcept { return watcher_row_ != nullptr; }
  std::uint32_t owner() const noexcept { return index_ + 1; }  // as in control words
  std::uint64_t incarnation() const noexcept { return incarnation_; }
  RosterRow& row() const noexcept { return *row_; }
  base::Random& random() noexcept { return random_; }

  // False when somebody took this participant for dead (its descriptor was closed under it): it must stop
  // claiming and join anew.
  bool still_ours() const noexcept {
    return row_->status.load(std::memory_order_relaxed) == row_status(incarnation_, RowState::kLive);
  }

  // A forked child has the object but neither the mapping nor the row.
  bool in_forked_child() const noexcept;

  void beat() noexcept {
    row_->heartbeat.store(row_->heartbeat.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  // A slot in kAlloc of this participant, or false when the segment is full. Its descriptor's plain fields
  // may be written until it is published or given back.
  bool take_slot(std::uint32_t& slot, ControlWord& word) noexcept {
    if (reserve_begin_ == reserve_end_ && !refill_reserve()) return false;
    const Reserved& r = reserve_[reserve_begin_++ % kReserveSlots];
    // The line that will be written some tasks from now: its fetch from the other core is hidden.
    if (reserve_end_ - reserve_begin_ > kPrefetchAhead) {
      const std::uint32_t later = reserve_[(reserve_begin_ + kPrefetchAhead) % kReserveSlots].slot;
      prefetch_write(&segment_->descriptor(later));
      prefetch_write(segment_->descriptor(later).inline_payload);
    }
    slot = r.slot;
    word = r.word;
    return true;
  }
  // The slot that take_slot() gives next, if it is known yet.
  const Descriptor* next_slot() const noexcept {
    if (reserve_begin_ == reserve_end_) return nullptr;
    return &segment_->descriptor(reserve_[reserve_begin_ % kReserveSlots].slot);
  }
  // Back into the reserve, unchanged.
  void return_slot(std::uint32_t slot, ControlWord word) noexcept;

  // Tells producers that a slot this participant turned to kFree may be taken.
  void offer_free(std::uint32_t slot) noexcept {
    if (returns_tail_ - returns_seen_head_ >= kReturnSlots) [[unlikely]] {
      returns_seen_head_ = returns_->head.load(std::memory_order_acquire);
      if (returns_tail_ - returns_seen_head_ >= kReturnSlots) {
        offer_free_to_all(slot);
        return;
      }
    }
    returns_->slots[returns_tail_ % kReturnSlots].store(slot, std::memory_order_relaxed);
    // order(returns.tail): release; pairs with the acquire in refill_from_returns(): the slot number is there.
    returns_->tail.store(++returns_tail_, std::memory_order_release);
  }

  // Gives reserved slots back; on detach and for tests.
  void drop_reserve() noexcept;

  // ---- counted changes (see OpKind): begin_op, the CAS, count.
  // `op`: of the word as the change finds it.
  void begin_op(OpWord op, std::uint32_t queue, Counter counter, std::uint32_t how_many = 1,
                std::uint32_t items = 0) noexcept {
    const CounterRow& row = counters(queue);
    // The slot first: killed half way, the rest of the record is of the previous change, but this slot has
    // not changed yet, so nothing is counted. (The other way round the previous change would be counted
    // twice.)
    // order(op.record): release; each word after the one before it, and the record complete before the
    // change that it announces (a recoverer reads it after the kernel has proved this thread dead).
    row_->op.store(op.bits(), std::memory_order_release);
    row_->op_counter.store(OpDetail{items, how_many, queue, static_cast<std::uint32_t>(counter)}.pack(),
                           std::memory_order_release);
    row_->op_count.store(row.value[static_cast<int>(counter)].load(std::memory_order_relaxed),
                         std::memory_order_release);
  }
  // The change was refused: nothing is to be counted; nor by what is left of this record, when the next is cut off half way.
  void drop_op() noexcept {
    row_->op.store(0, std::memory_order_release);
    row_->op_count.store(~std::uint64_t{0}, std::memory_order_release);
  }
  void count(std::uint32_t queue, Counter counter, std::uint64_t by = 1) noexcept {
    auto& value = counters(queue).value[static_cast<int>(counter)];
    value.store(value.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
  // Renewed leases. Added to, not stored: a worker's pulse counts them beside its loop (count_renewal_beside()).
  void count_renewal(std::uint32_t queue, std::uint64_t by = 1) noexcept {
    counters(queue).value[static_cast<int>(Counter::kLeaseRenewed)].fetch_add(by, std::memory_order_relaxed);
  }
  // The same for another thread of this process. Costs a system call.
  void count_renewal_beside(std::uint32_t queue) noexcept;
  // Histograms of this participant, committed on first use. `record` is a plain add.
  // `times` of them took that long.
  void record_wait(std::uint32_t queue, std::int64_t wait_ns, std::uint32_t times = 1) noexcept;
  void record_duration(std::uint32_t task, std::int64_t duration_ns, std::uint32_t times = 1) noexcept;
  void count_task(std::uint32_t task, TaskStat stat, std::uint64_t by = 1) noexcept;

  // This participant's counters of a queue; committed on first use.
  CounterRow& counters(std::uint32_t queue) noexcept {
    if (queue != last_queue_) [[unlikely]]
      switch_queue(queue);
    return *last_counters_;
  }

 private:
  struct Reserved {
    std::uint32_t slot;
    ControlWord word;
  };
  static constexpr std::uint32_t kPrefetchAhead = 6;
  static constexpr std::uint32_t kRefill = 32;
  static_assert(kRefill <= kReserveSlots);

  explicit Participant(std::shared_ptr<Segment> segment);
  bool refill_reserve() noexcept;
  void fetch_free(std::uint32_t slot) const noexcept;
  bool refill_from_returns(std::uint32_t participant) noexcept;
  bool refill_from_free_ring() noexcept;
  bool take_free(std::uint32_t slot) noexcept;
  void offer_free_to_all(std::uint32_t slot) noexcept;
  bool refill_from_unused() noexcept;
  bool refill_by_scan() noexcept;
  bool commit_slots(std::uint64_t needed) noexcept;
  void add_reserve(std::uint32_t slot, ControlWord word) noexcept;
  void switch_queue(std::uint32_t queue) noexcept;
  void switch_task(std::uint32_t task) noexcept;
  bool hold_alive_mutex() noexcept;

  std::shared_ptr<Segment> segment_;
  RosterRow* row_ = nullptr;
  std::unique_ptr<RosterRow> watcher_row_;  // in nobody's memory but ours
  std::uint32_t index_ = 0;
  std::uint64_t incarnation_ = 0;
  int pid_ = 0;
  int lock_fd_ = -1;  // own open file description: its byte lock is the proof of life
  base::Random random_;

  ReturnRing* returns_ = nullptr;
  std::uint64_t returns_tail_ = 0, returns_seen_head_ = 0;
  std::uint32_t last_giver_ = 0;  // whose returned slots were taken last
  Ring free_ring_;                // what does not fit into a return ring
  bool free_ring_committed_ = false;
  Reserved reserve_[kReserveSlots];
  std::uint32_t reserve_begin_ = 0, reserve_end_ = 0;
  std::uint32_t scan_hand_ = 0;

  std::uint32_t last_queue_ = ~0u;
  CounterRow* last_counters_ = nullptr;
  std::atomic<std::uint64_t>* last_wait_ = nullptr;
  std::uint32_t last_task_ = ~0u;
  std::atomic<std::uint64_t>* last_duration_ = nullptr;
  std::unique_ptr<std::uint64_t[]> queues_seen_;  // bit per queue: committed
  std::unique_ptr<std::uint64_t[]> tasks_seen_;
  CounterRow scratch_counters_;  // when /dev/shm has no room even for statistics
  std::unique_ptr<std::atomic<std::uint64_t>[]> scratch_histogram_;
};

}  // namespace stem::shm
