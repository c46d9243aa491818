// The engine: what a queue promises, for one participant. No clock (time comes in), no I/O, no processes.
//
// One Engine per attached thread; not thread-safe. All of them together, in any number of processes, work
// on one segment.
//
//   producer:  enqueue -> kReady | kDelayed
//   worker:    claim -> kLeased;  begin;  then one of succeed, retry, fail, snooze, release
//   anybody:   revoke, pause, dead letters (dead_letters.hpp), queries (query.hpp), recovery
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/lanes.hpp"
#include "engine/limiter.hpp"
#include "engine/run.hpp"
#include "engine/task.hpp"
#include "shm/blocks.hpp"
#include "shm/doorbell.hpp"
#include "shm/event_log.hpp"
#include "shm/journal_line.hpp"
#include "shm/participant.hpp"
#include "shm/prefetch.hpp"

namespace stem::engine {

// Answer of every call that names a lease.
enum class [[nodiscard]] Settled : std::uint8_t{
    kDone,
    kFenced,  // the lease was lost: somebody else has the task, or had it. Nothing was changed
};

// Answer of begin().
enum class [[nodiscard]] Begin : std::uint8_t{
    kStart,
    kLimited,  // a limit holds it back, or its unique key is asked for first: it is delayed, no attempt used
    kExpired,  // its time to start has passed: cancelled
    kLost,     // the lease was lost
};

// Why a task became a dead letter; texts in reference §3.
enum class DeadReason : std::uint8_t {
  kMaxRetriesExhausted = 1,
  kPermanentFailure,
  kPoisonPill,
  kHardTimeLimit,
  kUnregisteredTask,
  kSignatureInvalid,
  kPayloadInvalid,
  kDeliveryLimit,
};
inline constexpr std::uint32_t kDeadReasons = 8;
static_assert(static_cast<std::uint32_t>(DeadReason::kDeliveryLimit) == kDeadReasons);
static_assert(kDeadReasons == static_cast<std::uint32_t>(shm::Counter::kDeadAddedLast) -
                                  static_cast<std::uint32_t>(shm::Counter::kDeadAddedFirst) + 1);
const char* to_string(DeadReason reason) noexcept;
bool parse_dead_reason(std::string_view text, DeadReason& reason);

// Why a lease ended without its holder's word.
enum class LeaseEnd : std::uint8_t {
  kDied,      // its process is gone
  kSilent,    // its worker gave no sign of life for the task's visibility timeout
  kExpired,   // not renewed by life signs (auto_renew off), its clock ran out
  kDetached,  // its worker left without giving it back
  kStopped,   // a hard stop: its worker is killed on purpose, and nobody is to blame
};
inline constexpr std::uint32_t kLeaseEnds = 5;
static_assert(kLeaseEnds == static_cast<std::uint32_t>(shm::Counter::kRedeliveredLast) -
                                static_cast<std::uint32_t>(shm::Counter::kRedeliveredFirst) + 1);
const char* to_string(LeaseEnd end) noexcept;

// What went wrong in an attempt. `kind` is a short class name, `message` the text.
struct Failure {
  std::string_view kind;
  std::string_view message;
};

// What a worker reads of its lease. Payload and texts point into the segment, into `inline_copy`, or, of a
// run's item, into the engine's copy of the run, which stays until an item of another run is viewed.
struct TaskHead {
  TaskId id;
  std::uint64_t run = 0;  // HeldRun::serial of the run it was read from; 0 = none
  std::uint32_t queue = 0;
  std::uint32_t task = 0;
  std::uint8_t priority = 0;
  std::uint16_t max_retries = 0;
  std::uint8_t flags = 0;
  std::int64_t enqueued_ns = 0;
  shm::Tally tally;  // attempts before this one
  std::span<const std::byte> payload;
  bool has_extras = false;
  alignas(16) std::byte inline_copy[shm::kInlineBytes];
};
struct TaskView : TaskHead {
  TaskExtras extras;  // texts point into the block; unique_for_ns is absolute here
};

// What a schedule's tick carries (TaskExtras::tick).
struct TickNote {
  std::uint64_t row = 0;          // of the schedule
  std::int64_t planned_ns = 0;    // CLOCK_REALTIME
  std::uint64_t proposed_by = 0;  // incarnation << 12 | participant + 1
};

enum class [[nodiscard]] TickStatus : std::uint8_t{
    kFired,
    kLost,     // somebody else had the turn: the tick was fired, or the entry changed
    kRefused,  // TickResult::enqueue says why; the turn still is what it was
};

struct TickResult {
  TickStatus status = TickStatus::kRefused;
  EnqueueResult enqueue;
};

// A slot taken for a payload to be written in place. Published by Engine::publish or given back.
struct Loan {
  std::uint32_t slot = 0;
  shm::ControlWord word;
  shm::BlockId block = shm::kNoBlock;
  std::span<std::byte> payload;  // writable until publish
  TaskSpec spec;
};

// A task of a segment that is gone, as its journal remembers it (restore.cpp).
struct RestoredTask {
  TaskSpec spec;
  shm::Tally tally;
  std::int64_t enqueued_ns = 0;
  std::span<const std::byte> failure;        // a FailureRecord; with it the task is a dead letter
  OutcomeKind outcome = OutcomeKind::kNone;  // of one that is over, and whose result was kept
  std::span<const std::byte> result;         // bytes, or, where it did not succeed, a FailureRecord
  std::int64_t kept_until_ns = 0;            // CLOCK_MONOTONIC
};

// The deliveries of a task before the grant it stands at.
inline shm::Tally tally_of(const shm::Descriptor& d, std::uint32_t grant) noexcept {
  const shm::TaggedWord word(d.tally[grant % 2].load(std::memory_order_acquire));
  return word.grant() == grant ? shm::Tally::unpack(word.value()) : shm::Tally{};
}

class Engine {
 public:
  // The participant outlives the engine.
  explicit Engine(shm::Participant& self);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  shm::Participant& self() const noexcept { return self_; }
  shm::Segment& segment() const noexcept { return segment_; }
  Lanes& lanes() noexcept { return lanes_; }
  shm::Blocks& blocks() noexcept { return blocks_; }
  shm::EventWriter& events() noexcept { return events_; }

  // ---- producing (enqueue.cpp)
  EnqueueResult enqueue(const TaskSpec& spec, std::int64_t now_ns) noexcept;
  // Enqueues `specs` of one queue and priority, hints pushed together; stops at the first that fails and
  // returns its status; `done` says how many were accepted, `ids` (may be null) takes their ids.
  // Small plain tasks of one kind are stored in runs (run.hpp).
  EnqueueStatus enqueue_many(const TaskSpec* specs, std::size_t count, TaskId* ids, std::size_t& done,
                             std::int64_t now_ns) noexcept;
  // While they are held, enqueue() wakes nobody: a wake is a system call, and tasks that come from elsewhere come
  // many at a time. wake_held() wakes the workers of `queue` for all since; killed before that, the patrol does.
  void hold_wakes(bool hold) noexcept { holds_wakes_ = hold; }
  void wake_held(std::uint32_t queue) noexcept;
  EnqueueStatus loan(const TaskSpec& spec, std::uint32_t payload_bytes, Loan& loan, std::int64_t now_ns) noexcept;
  EnqueueResult publish(Loan& loan, std::int64_t now_ns) noexcept;
  void drop(Loan& loan) noexcept;

  // ---- working (claim.cpp)
  // Claims up to `most` runnable tasks of a queue, highest priority first; returns how many. Tasks that
  // were meant for this worker (affinity) come first, of whatever queue.
  std::uint32_t claim(std::uint32_t queue, Lease* into, std::uint32_t most, std::int64_t now_ns) noexcept;
  bool inbox_has_hints() const noexcept { return !inbox_.empty(); }
  // The worker that tasks of this key go to now: the live worker of the queue with the highest hash and
  // room in its inbox; -1 when there is none.
  std::int32_t worker_for(std::uint64_t affinity_key, std::uint32_t queue) const noexcept;
  // The affinity key of a task; 0 = none.
  std::uint64_t affinity_of(std::uint32_t slot, shm::ControlWord word) noexcept;
  // Leaves a hint for a ready task where it belongs (its lane, or a worker's inbox) and wakes somebody.
  void leave_hint(std::uint32_t slot, shm::ControlWord word, std::uint32_t queue, std::uint32_t priority) noexcept;
  // True when a queue has something to claim, as far as its hints say. For who spins: it is cheaper than a claim
  // that finds nothing, and leaves the marks alone, which each new task would have to set again.
  bool has_hint(std::uint32_t queue) noexcept {
    if (inbox_has_hints() || keeps_items_) return true;
    return segment_.queue(queue).paused.load(std::memory_order_relaxed) == 0 && lanes_.has_hint(queue);
  }
  // True when a queue may have something to claim. For who goes to sleep: a push that it does not see yet
  // sets the mark again and then looks for sleepers (`lanes().clear_marks()` first: marks outlive their hints).
  bool maybe_ready(std::uint32_t queue) const noexcept {
    const shm::QueueRow& row = segment_.queue(queue);
    return (row.lanes.load(std::memory_order_seq_cst) != 0 && row.paused.load(std::memory_order_relaxed) == 0) ||
           inbox_has_hints() || keeps_items_;
  }
  // Reads the task of a lease. False: its descriptor makes no sense (it was quarantined) or the lease is
  // lost; forget it.
  bool view(const Lease& lease, TaskView& into) noexcept {
    const HeldRun& run = *at_run_;
    const std::uint32_t index = lease.item - 1;  // of a task that is no item: beyond every run
    if (into.run != run.serial || index >= run.count || !run.is_of(lease)) return view_first(lease, into);
    if (!run.control->stands(lease.word)) return false;
    shm::prefetch_read(run.coming + std::size_t{index} * kRunItemBytes);
    // The view of the item before: the rest is the same.
    into.id.handle = run.handle + (std::uint64_t{lease.item} << TaskId::kItemShift);
    into.payload = {run.items + std::size_t{index} * kRunItemBytes, run.head.bytes[index]};
    return true;
  }
  // Asks whether the handler may start now (expiry, rate and concurrency limits), and notes it: counters, queue
  // wait, what is being run (for crash records). Only kStart lets the handler run; with any other answer the
  // lease has been dealt with.
  Begin begin(const Lease& lease, TaskView& task, std::int64_t now_ns) noexcept {
    HeldRun& run = *at_run_;
    if (task.run != run.serial || run.limited) return begin_single(lease, task, now_ns);
    note_start(task, now_ns, /*new_here=*/true);
    if (run.begun_ns != now_ns) {
      record_waits(run);
      run.begun_ns = now_ns;
    }
    ++run.begun;
    return Begin::kStart;
  }

  // ---- settling (settle.cpp)
  // `result` is kept when the task asked for it.
  Settled succeed(const Lease& lease, const TaskView& task, std::span<const std::byte> result,
                  std::int64_t now_ns) noexcept;
  // As succeed() without a result; of a run's items the acknowledgements share one change: it comes with the
  // run's last item, or with the next claim() or commit_acks(). Until then the end is on record (run.hpp) and
  // survives this process. For handlers so quick that the rest of the run is over soon.
  Settled succeed_later(const Lease& lease, const TaskView& task, std::int64_t now_ns) noexcept {
    HeldRun& run = *at_run_;
    if (acking_ != &run || task.run != run.serial || run.has_ended(lease.item))
      return succeed_first(lease, task, now_ns);
    if (events_.followed(now_ns)) [[unlikely]]
      tell_succeeded(task, started_ns(), now_ns);
    return record_ack(run, item_bit(lease.item));
  }
  // kFenced: the run was lost with all that was on record.
  Settled commit_acks() noexcept;
  bool acks_pending() const noexcept { return acking_ != nullptr; }
  // A failed attempt: retried after the policy's delay (or `delay_ns` >= 0), or dead-lettered when no
  // attempt is left. `retried` says which.
  Settled fail(const Lease& lease, const TaskView& task, const Failure& failure, std::int64_t delay_ns,
               std::int64_t now_ns, bool& retried) noexcept;
  // Straight to the dead-letter queue.
  Settled bury(const Lease& lease, const TaskView& task, DeadReason reason, const Failure& failure,
               std::int64_t now_ns) noexcept;
  // Again after `delay_ns`, no attempt used.
  Settled snooze(const Lease& lease, const TaskView& task, std::int64_t delay_ns, std::int64_t now_ns) noexcept;
  // Given back untouched, no attempt used.
  Settled release(const Lease& lease, std::int64_t now_ns) noexcept;
  // Over without running (revoked, expired, discarded).
  Settled cancel(const Lease& lease, const TaskView& task, shm::Counter why, const Failure& failure,
                 std::int64_t now_ns) noexcept;
  // True while the lease is ours.
  bool holds(const Lease& lease) const noexcept { return segment_.descriptor(lease.slot).control.stands(lease.word); }
  // For tasks whose lease ends by the clock (kNoRenew): a new end. For others a life sign. Counted as a renewal.
  Settled extend(const Lease& lease, std::int64_t until_ns) noexcept;

  // ---- recovery (recovery.cpp)
  // The participant's thread has ended (signal): what it held is made runnable at once. Safe even if the
  // signal is wrong. Returns how many tasks were redelivered.
  std::uint32_t redeliver_held(std::uint32_t participant, std::int64_t now_ns) noexcept;
  // Redelivers one lease that somebody lost, if it still is exactly `word`. `current` is what its holder
  // said it was running (RosterRow::current): if that is this task, an attempt is used (but not by kStopped), and by
  // kDied it counts towards the poison limit.
  bool redeliver(std::uint32_t slot, shm::ControlWord word, std::uint64_t current, LeaseEnd end,
                 std::int64_t now_ns) noexcept;
  // Sweeps a participant whose death is proved; false when it lives or somebody else sweeps it.
  bool sweep(std::uint32_t participant, std::int64_t now_ns) noexcept;
  // One owned slot whose owner detached without giving it back (its row is free): treated like a dead one's.
  void adopt(std::uint32_t slot, shm::ControlWord word, std::int64_t now_ns) noexcept;
  // Sweeps every dead participant found; returns how many.
  std::uint32_t sweep_all(std::int64_t now_ns) noexcept;

  // ---- delays
  std::int64_t due_ns(std::uint32_t slot, shm::ControlWord word) const noexcept;
  // DELAYED -> READY if `word` still stands; pushes the hint.
  bool promote(std::uint32_t slot, shm::ControlWord word, std::int64_t now_ns) noexcept;

  // One task that waits for a place under this concurrency key may ask for it now. False: none is remembered.
  bool let_one_go(std::uint64_t key, std::int64_t now_ns) noexcept;

  // A copy of a run's item that waits (kMovedOut): lets it go when the item has moved, drops it when the
  // item was acknowledged or the run is over. False when the run's holder has not decided yet.
  bool resolve_moved(std::uint32_t slot, shm::ControlWord word) noexcept;
  // True when such a copy is a task (its item has moved); `final` = nothing can change that any more.
  bool moved_item_counts(std::uint32_t slot, shm::ControlWord word, bool& final) noexcept;

  // ---- ticks of schedules (tick.cpp; docs/beat.md)
  // Makes `spec` the tick of a schedule's row that was planned for `tick_ns`, if the row's turn still is `turn`:
  // then it is accepted, and nobody else's task can be that tick any more. Otherwise nothing was done.
  TickResult fire_tick(const TaskSpec& spec, std::uint32_t row, std::int64_t tick_ns, shm::TurnWord turn,
                       std::int64_t now_ns) noexcept;
  // Lets the task go that an open turn has chosen. Anybody may; of all who help one closes the turn and counts it.
  void complete_turn(std::uint32_t row, shm::TurnWord turn) noexcept;
  // Gives the row a new turn after its definition has become `version`: who still holds the old one is refused.
  void renew_turn(std::uint32_t row, std::uint32_t version) noexcept;
  // Completes what was left open by whoever was killed, or is slow.
  void complete_turns() noexcept;
  // A proposed tick that waits: lets it go when its turn has chosen it, drops it when nobody can choose it any more.
  bool resolve_tick(std::uint32_t slot, shm::ControlWord word) noexcept;

  // ---- the journal (restore.cpp, docs/journal.md)
  // A task of this queue has changed: a queue with a journal wants to know.
  void note_change(std::uint32_t queue, std::uint32_t slot) noexcept {
    if (shm::durability_of(segment_, queue) != shm::Durability::kMemory) [[unlikely]]
      shm::note_for_journal(segment_, journal_, slot);
  }
  // Makes a task of a segment that is gone anew, in kWaiting: nobody runs it until let_restored_go(). kDuplicate: a
  // task that was enqueued here meanwhile has its unique key.
  EnqueueResult restore(const RestoredTask& task, std::int64_t now_ns) noexcept;
  // Whether this waiting task was made by restore().
  bool is_restored(std::uint32_t slot, shm::ControlWord word) const noexcept;
  // What it was, and will be: ready, delayed, a dead letter, or over with a result that is kept.
  shm::State restored_state(std::uint32_t slot, shm::ControlWord waiting, std::int64_t now_ns) const noexcept;
  bool let_restored_go(std::uint32_t slot, shm::ControlWord waiting, std::int64_t now_ns) noexcept;
  // It never was; counted as a drop.
  void drop_restored(std::uint32_t slot, shm::ControlWord waiting) noexcept { drop_tick(slot, waiting); }

  // ---- events (events.cpp)
  void tell_queue(shm::EventKind kind, std::uint32_t queue, std::int64_t now_ns) noexcept;
  // The handler of a task that begin() let start is done; `became` says what of the task. Once for each such task.
  void tell_postrun(const TaskView& task, std::string_view became, std::int64_t now_ns) noexcept {
    if (events_.stepped(now_ns)) [[unlikely]]
      tell_done(task, became, now_ns);
  }
  // Of a schedule's tick that makes no task, or not yet; those that do are told by fire_tick().
  void tell_schedule(shm::EventKind kind, std::uint32_t row, std::int64_t planned_ns, std::string_view text,
                     std::int64_t now_ns) noexcept;
  // Of a worker or one of its processes (a roster row; shm::kNobody = the worker itself).
  void tell_worker(shm::EventKind kind, std::uint32_t process, std::int64_t value, std::string_view text,
                   std::int64_t now_ns) noexcept;

  // Frees a task's blocks and slot after it left kSettling, kDone, kDead or kRetiring by our hand.
  void free_slot_now(std::uint32_t slot, shm::ControlWord expected) noexcept;

  // The outcome word of a task that this participant owns; false once it does not any more.
  bool write_outcome(std::uint32_t slot, shm::ControlWord word, OutcomeKind kind, shm::BlockId block) noexcept;
  // A result block of the lease's task with these bytes; kNoBlock when empty or when there is no room.
  shm::BlockId store_result(const Lease& lease, std::span<const std::byte> result) noexcept;

  // A link that could not be enqueued because the segment was full: a drop, and counted as one.
  void count_lost_link(std::uint32_t queue) noexcept {
    self_.count(queue, shm::Counter::kEnqueued);
    self_.count(queue, shm::Counter::kDropped);
  }

  // Microseconds since the segment's creation, as stored in due words. The time at which a task was due and
  // the end of the lease that follows stand under the same grant: this bit tells them apart.
  static constexpr std::uint64_t kLeaseEnd = std::uint64_t{1} << 51;
  std::uint64_t to_due_us(std::int64_t ns) const noexcept;
  std::int64_t from_due_us(std::uint64_t us) const noexcept;

 private:
  friend class DeadLetters;
  friend class Control;
  friend class Outbox;
  friend class SharedKeys;
  struct Filled {
    std::uint32_t slot = 0;
    shm::ControlWord word;
  };

  bool take_slot(Filled& filled) noexcept;
  EnqueueStatus fill(const TaskSpec& spec, std::int64_t now_ns, Filled& filled, EnqueueResult& result) noexcept;
  EnqueueStatus fill_admitted(const TaskSpec& spec, std::int64_t now_ns, Filled& filled,
                              EnqueueResult& result) noexcept;
  EnqueueStatus fill_block(const TaskSpec& spec, std::uint32_t payload_bytes, std::int64_t now_ns, const Filled& filled,
                           shm::BlockId& block, std::span<std::byte>& payload) noexcept;
  void write_descriptor(shm::Descriptor& d, const TaskSpec& spec, std::uint32_t payload_bytes, std::int64_t now_ns,
                        shm::BlockId block) noexcept;
  bool make_visible(const TaskSpec& spec, const Filled& filled, std::int64_t now_ns) noexcept;
  void abandon(const Filled& filled, shm::BlockId block) noexcept;
  EnqueueStatus admit(const TaskSpec& spec, std::int64_t now_ns) noexcept;
  void announce(const TaskSpec& spec, const Filled& filled, std::int64_t now_ns) noexcept;
  std::optional<TickNote> tick_of(std::uint32_t slot, shm::ControlWord word) const noexcept;
  void drop_tick(std::uint32_t slot, shm::ControlWord waiting) noexcept;
  bool let_result_go(std::uint32_t slot, shm::ControlWord waiting, std::uint32_t queue, std::int64_t now_ns) noexcept;
  void announce_delayed(std::uint32_t slot, std::uint64_t generation, std::int64_t due_ns) noexcept;
  void make_room(std::uint32_t queue, std::int64_t now_ns) noexcept;
  void pass_stale_hints(std::uint32_t queue) noexcept;
  bool drop_oldest(std::uint32_t queue, std::int64_t now_ns) noexcept;
  bool drop_one(std::uint32_t queue, std::int64_t now_ns) noexcept;
  void empty_inbox(std::uint32_t participant) noexcept;
  std::uint32_t claim_inbox(Lease* into, std::uint32_t most) noexcept;
  std::uint32_t claim_lane(std::uint32_t queue, std::uint32_t priority, Lease* into, std::uint32_t most, bool& full,
                           bool part_of_run) noexcept;
  std::uint32_t aged_priority(std::uint32_t queue, std::uint64_t lanes, bool lowest_first,
                              std::int64_t now_ns) noexcept;
  // ---- runs (run.cpp)
  std::uint32_t run_length(const TaskSpec* specs, std::size_t count, std::int64_t now_ns) const noexcept;
  EnqueueStatus enqueue_runs(const TaskSpec* specs, std::size_t count, TaskId* ids, std::size_t& done,
                             std::int64_t now_ns) noexcept;
  EnqueueStatus enqueue_run(const TaskSpec* specs, std::uint32_t count, TaskId* ids, shm::HintCell& hint,
                            std::int64_t now_ns) noexcept;
  std::uint32_t expand_run(const Lease& run, Lease* into, std::uint32_t most) noexcept;
  std::uint32_t lift_mask(const Lease& run) noexcept;
  void fetch_next_block() const noexcept;
  void note_coming(const shm::Descriptor& d) noexcept;
  void fetch_coming(HeldRun& run) noexcept;
  HeldRun* load_run(const Lease& lease) noexcept;
  bool view_first(const Lease& lease, TaskView& into) noexcept {
    return lease.item != 0 ? view_item(lease, into) : view_single(lease, into);
  }
  bool view_single(const Lease& lease, TaskView& into) noexcept;
  bool view_item(const Lease& lease, TaskView& into) noexcept;
  Begin begin_single(const Lease& lease, TaskView& task, std::int64_t now_ns) noexcept;
  // What is being run, for crash records, and that it was started.
  void note_start(const TaskView& task, std::int64_t now_ns, bool new_here = false) noexcept {
    shm::RosterRow& row = self_.row();
    row.current.store(task.id.handle, std::memory_order_release);
    row.current_since_ns.store(now_ns, std::memory_order_relaxed);
    self_.count(task.queue, shm::Counter::kStarted);
    if (events_.followed(now_ns)) [[unlikely]] {
      if (new_here && events_.stepped(now_ns)) tell_received(task, now_ns);
      tell_started(task, now_ns);
    }
  }
  void record_waits(HeldRun& run) noexcept;
  Settled succeed_first(const Lease& lease, const TaskView& task, std::int64_t now_ns) noexcept;
  Settled record_ack(HeldRun& run, std::uint32_t bit) noexcept {
    run.acked |= bit;
    // order(run.acked): release; after everything the handler did. Pairs with the acquire of who takes the
    // run from us.
    self_.row().acked.store(run.nothing_acked | run.acked, std::memory_order_release);
    return (run.gone | run.acked) == run.all ? commit_acks() : Settled::kDone;
  }
  Settled settle_item(const Lease& lease, const TaskView& task, shm::Counter counter, std::int64_t now_ns) noexcept;
  bool mark_item(const Lease& lease, bool moved, bool& last) noexcept;
  void let_moved_go(std::uint32_t slot, shm::ControlWord word) noexcept;
  void end_run(const Lease& lease) noexcept;
  void keep_items(const Lease& run, std::uint32_t items) noexcept;
  bool keeps(const Lease& run) const noexcept;
  bool keeps_of(std::uint32_t queue) const noexcept;
  static constexpr std::uint32_t kAnyQueue = ~0u;
  std::uint32_t claim_kept(Lease* into, std::uint32_t most, std::uint32_t queue = kAnyQueue) noexcept;
  bool move_out(const Lease& lease, const TaskView& task, const shm::Tally& tally, Lease& single) noexcept;
  bool release_run(const Lease& run) noexcept;
  void bury_run(const Lease& run, std::int64_t now_ns) noexcept;
  bool carry_over(std::uint32_t slot, shm::ControlWord held, std::uint32_t items) noexcept;
  bool redeliver_run(std::uint32_t slot, shm::ControlWord word, std::uint32_t acked, std::uint32_t crashed_item,
                     LeaseEnd end, std::int64_t now_ns) noexcept;
  void count_redelivered(std::uint32_t queue, LeaseEnd end, std::uint64_t tasks) noexcept;
  Settled set_lease_end(const Lease& lease, std::int64_t until_ns) noexcept;

  bool bury_lost(std::uint32_t slot, shm::ControlWord word, const shm::Tally& tally, bool poison,
                 std::int64_t now_ns) noexcept;
  void void_settle(std::uint32_t slot, shm::ControlWord taken) noexcept;
  bool counted(std::uint32_t participant, const shm::OpDetail& detail) noexcept;
  void confirm_items(std::uint32_t slot, shm::ControlWord next, MaskWord mask) noexcept;
  void complete_op(std::uint32_t participant) noexcept;
  void wake_everyone() noexcept;
  void quarantine(const Lease& lease) noexcept;
  bool regrant(std::uint32_t slot, shm::ControlWord from, const shm::Tally& tally, std::int64_t due_ns,
               std::int64_t now_ns) noexcept;
  bool put_off(std::uint32_t slot, shm::ControlWord from, const shm::Tally& tally, std::int64_t due_ns) noexcept;
  bool make_runnable(std::uint32_t slot, shm::ControlWord from, shm::ControlWord next, const shm::Tally& tally,
                     std::int64_t due_ns) noexcept;
  Settled finish(const Lease& lease, const TaskView& task, OutcomeKind kind, shm::Counter counter,
                 std::span<const std::byte> result, std::int64_t now_ns) noexcept;
  bool is_import(std::uint32_t slot, shm::ControlWord word) const noexcept;
  void after_commit(std::uint32_t slot, shm::ControlWord settling, std::int64_t now_ns) noexcept;
  bool limited(const Lease& lease, TaskView& task, std::int64_t now_ns, bool& lost) noexcept;
  bool awaits_key(const Lease& lease, const TaskView& task, std::int64_t now_ns, bool& lost) noexcept;
  LimitsOf limits_of(const shm::QueueRow& queue, const TaskExtras& extras, std::int64_t now_ns) const noexcept;
  Settled hold_back(const Lease& lease, const TaskView& task, std::int64_t until_ns, bool paid,
                    std::int64_t now_ns) noexcept;
  Settled refuse_result(const Lease& lease, const TaskView& task, std::size_t bytes, std::int64_t now_ns) noexcept;
  void let_waiter_go(const TaskView& task, std::int64_t now_ns) noexcept;
  bool may_have_waiters(const TaskView& task) const noexcept {
    return segment_.queue(task.queue).concurrency.load(std::memory_order_relaxed) != 0 ||
           (task.has_extras && task.extras.concurrency_limit != 0);
  }
  void free_blocks(std::uint32_t slot, shm::ControlWord word) noexcept;
  Settled fenced(const TaskView& task, std::int64_t now_ns) noexcept;
  Settled refuse_late(const Lease& lease, const TaskView& task, std::int64_t now_ns,
                      shm::BlockId block = shm::kNoBlock) noexcept;
  void count_failure(const TaskView& task) noexcept;
  void note_failure(const Lease& lease, const Failure& failure, std::int64_t now_ns, std::uint32_t attempts) noexcept;

  struct LostLease {
    std::uint32_t queue = 0, task = 0, attempts = 0, items = 1;
    LeaseEnd end = LeaseEnd::kDied;
    bool started = false;
  };
  void tell(shm::EventKind kind, const TaskView& task, std::int64_t value, std::int64_t now_ns) noexcept;
  void tell_failure(shm::EventKind kind, const TaskView& task, std::uint8_t reason, const Failure& failure,
                    std::int64_t value, std::int64_t now_ns) noexcept;
  void tell_enqueued(shm::EventKind kind, const TaskSpec& spec, std::uint64_t handle, std::int64_t now_ns) noexcept;
  void tell_received(const TaskView& task, std::int64_t now_ns) noexcept;
  void tell_done(const TaskView& task, std::string_view became, std::int64_t now_ns) noexcept;
  void tell_started(const TaskView& task, std::int64_t now_ns) noexcept;
  void tell_succeeded(const TaskView& task, std::int64_t started_ns, std::int64_t now_ns) noexcept;
  void tell_lost(std::uint32_t slot, shm::ControlWord word, std::uint32_t item, const LostLease& lost,
                 std::int64_t now_ns) noexcept;
  std::uint8_t death_of(std::uint32_t participant, std::uint64_t handle) const noexcept;
  std::uint8_t loss_of(std::uint32_t participant, std::uint64_t handle, LeaseEnd end) const noexcept;
  void tell_tick(const TaskSpec& spec, std::uint64_t handle, const TickNote& tick, std::int64_t now_ns) noexcept;
  std::int64_t started_ns() const noexcept { return self_.row().current_since_ns.load(std::memory_order_relaxed); }

  shm::Participant& self_;
  shm::Segment& segment_;
  shm::EventWriter events_;
  Lanes lanes_;
  shm::Blocks blocks_;
  HeldRun runs_[kHeldRuns + 1];  // by slot; the last one is for what is only dropped
  bool dropping_ = false;        // a handler may be reading its payload from the others
  std::uint64_t run_serial_;     // starts elsewhere in every engine: a view of one is not taken for another's
  // Items of runs we hold that could not move out for want of a free slot: the next claims hand them out again.
  struct Kept {
    Lease run;
    std::uint32_t items = 0;
  };
  std::vector<Kept> kept_;  // no more than the leases of one claim
  bool keeps_items_ = false;
  bool holds_wakes_ = false;
  std::uint32_t held_wakes_ = 0;
  HeldRun* at_run_ = runs_;    // whose item was viewed last
  HeldRun* acking_ = nullptr;  // the run with acknowledgements that are not committed
  shm::Ring inbox_;
  shm::Ring delayed_;  // hints of delayed tasks for the keeper's heap
  shm::JournalMarks journal_;
  std::uint32_t held_next_ = 0;
  std::uint32_t claims_ = 0;
  const shm::RingHeader* looked_ring_ = nullptr;  // how far ahead descriptors are on their way
  std::uint64_t looked_ = 0;
  // Blocks of the runs that the last claim took, and of the two behind them: each is fetched while the items of the two
  // before it run. Only looked at ahead of time: wrong or none at all costs time, nothing else.
  struct Coming {
    const std::byte* block;
    std::uint32_t items;
  };
  static constexpr std::uint32_t kComing = 8;
  static constexpr std::uint32_t kComingAhead = 2;
  Coming coming_[kComing] = {};
  std::uint32_t coming_count_ = 0;
  std::uint32_t coming_at_ = 0;
};

}  // namespace stem::engine
