#include "engine/control.hpp"

#include <algorithm>
#include <cstring>

#include "engine/extension.hpp"
#include "engine/failure_record.hpp"
#include "engine/former.hpp"
#include "engine/known_handle.hpp"
#include "engine/limiter.hpp"
#include "engine/run.hpp"
#include "engine/unique.hpp"
#include "engine/wish_word.hpp"
#include "shm/doorbell.hpp"
#include "shm/names.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Counter;
using shm::Descriptor;
using shm::State;
using shm::TaggedWord;

namespace {

constexpr int kMostLooks = 1000;

// The copy of a run's item that has not moved yet, or only just, or the tick of a schedule that has not been
// chosen yet: no task of its own.
bool is_undecided(ControlWord word) { return word.state() == State::kWaiting; }

// Progress lives in the tally word that the current grant does not use: tagged with the grant it belongs
// to, it cannot be taken for the tally of the next one, which will overwrite it.
// The tasks of a run share the word: it names the one that spoke last.
//   value: 51 .. 36 parts of 60,000, plus 1 (16), so that a word that was never written says nothing |
//           35 .. 32 item of a run (4) | 31 .. 0 block id + 1
std::atomic<std::uint64_t>& progress_cell(Descriptor& d, std::uint32_t grant) { return d.tally[(grant + 1) % 2]; }

class ProgressWord {
 public:
  explicit ProgressWord(std::uint64_t bits) : word_(bits) {}
  ProgressWord(std::uint32_t grant, double fraction, std::uint32_t item, std::uint32_t block)
      : word_(grant, parts_of(fraction) << 36 | std::uint64_t{item & 15u} << 32 | block) {}
  std::uint64_t bits() const { return word_.bits(); }
  bool of(std::uint32_t grant) const { return word_.grant() == grant && word_.value() >> 36 != 0; }
  double fraction() const { return static_cast<double>((word_.value() >> 36) - 1) / kWhole; }
  std::uint32_t item() const { return static_cast<std::uint32_t>(word_.value() >> 32) & 15u; }
  std::uint32_t block() const { return static_cast<std::uint32_t>(word_.value()); }

 private:
  static constexpr double kWhole = 60'000;
  // What is no number counts as nothing done.
  static std::uint64_t parts_of(double fraction) {
    return fraction > 0 ? static_cast<std::uint64_t>(std::min(fraction, 1.0) * kWhole + 0.5) + 1 : 1;
  }
  TaggedWord word_;
};

// Up to the size that the block's header names; empty when that makes no sense.
std::string text_of_block(Engine& engine, shm::BlockId block, std::uint32_t slot, ControlWord word) {
  const auto bytes = engine.blocks().bytes(block, shm::block_tag(slot, word.generation(), shm::BlockKind::kResult));
  const shm::BlockHeader* header = engine.blocks().header(block);
  if (header == nullptr) return {};
  const std::uint32_t size = header->bytes;
  if (size > bytes.size()) return {};
  return {reinterpret_cast<const char*>(bytes.data()), size};
}

}  // namespace

// Takes a waiting run, cancels the items in `which` that are not over, and gives the rest back. Returns how
// many were cancelled; -1 when it was not to be had.
std::int32_t Control::cancel_items(std::uint32_t slot, ControlWord word, std::uint32_t which,
                                   std::int64_t now_ns) noexcept {
  // Asking again for items that are over must not use up the grants of the others.
  const std::uint32_t waiting = run_pending(segment_.descriptor(slot), word);
  if (waiting != 0 && (waiting & which) == 0 && segment_.descriptor(slot).control.load() == word) return 0;
  const Lease run{slot, word.with(State::kLeased, engine_.self().owner())};
  if (!engine_.segment().descriptor(slot).control.change(word, run.word)) return -1;
  (void)engine_.lift_mask(run);
  const Descriptor& d = segment_.descriptor(slot);
  const std::uint32_t pending = run_pending(d, run.word);
  std::int32_t cancelled = 0;
  engine_.dropping_ = true;  // a handler of this engine may be reading its payload from a run that it holds
  for (std::uint32_t bits = pending & which; bits != 0; bits &= bits - 1) {
    const Lease item{slot, run.word, static_cast<std::uint32_t>(std::countr_zero(bits)) + 1};
    TaskView task;
    if (!engine_.view(item, task) || engine_.settle_item(item, task, Counter::kCancelled, now_ns) != Settled::kDone)
      continue;
    ++cancelled;
    engine_.tell_failure(shm::EventKind::kRevoked, task, 0, {"revoked", "before it ran"}, 0, now_ns);
  }
  engine_.dropping_ = false;
  if (pending == 0)
    engine_.end_run(run);
  else if ((pending & ~which) != 0)
    (void)engine_.release_run(run);
  return cancelled;
}

bool Control::cancel_waiting(std::uint32_t slot, ControlWord word, std::int64_t now_ns) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  const std::uint32_t queue = d.queue;
  if (queue >= shm::queue_total(segment_)) return false;
  const std::uint32_t name = d.task;
  const std::uint64_t known = known_handle(engine_, slot, word);
  const bool keep = (d.flags & shm::kKeepResult) != 0;
  const ControlWord retiring = word.with(State::kRetiring, engine_.self().owner());
  engine_.self().begin_op({shm::OpKind::kTake, slot, word}, queue, Counter::kCancelled);
  if (!d.control.change(word, retiring)) {
    engine_.self().drop_op();
    return false;
  }
  engine_.self().count(queue, Counter::kCancelled);
  if (!keep) {
    engine_.free_slot_now(slot, retiring);
  } else {
    const FailureRecord record =
        make_failure_record({"revoked", "revoked before it ran"}, engine_.self().index(), now_ns, 0);
    (void)engine_.write_outcome(slot, retiring, OutcomeKind::kCancelled,
                                engine_.store_result({slot, retiring}, record.bytes()));
    const bool told = (d.flags & shm::kHasExtension) != 0 && d.block != 0;
    std::uint32_t offset = 0;
    const auto extras =
        told ? read_extension(engine_.blocks().bytes(d.block - 1,
                                                     shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload)),
                              offset)
             : std::nullopt;
    const std::int64_t ttl = extras ? extras->result_ttl_ns : kDefaultResultTtlNs;
    d.due.store(TaggedWord(retiring.grant(), engine_.to_due_us(later_ns(now_ns, ttl))).bits(),
                std::memory_order_release);
    ControlWord expected = retiring;
    (void)d.control.change(expected, retiring.with(State::kDone, 0));
  }
  engine_.note_change(queue, slot);
  TaskView revoked;
  revoked.id = TaskId{1, known};
  revoked.queue = queue;
  revoked.task = name;
  engine_.tell_failure(shm::EventKind::kRevoked, revoked, 0, {"revoked", "before it ran"}, 0, now_ns);
  if (shm::anyone_awaits(segment_)) shm::wake_result_waiters(segment_, TaskId::make(1, slot, word.generation()).handle);
  return true;
}

// The item of a run that is over there may be a task of its own by now.
Revoked Control::revoke_moved(TaskId item, bool terminate, std::int64_t now_ns) noexcept {
  if (item.item() == 0) return Revoked::kOver;
  TaskId copy{segment_.epoch(), Unique(segment_, engine_.blocks()).holder(moved_key(item.handle), now_ns)};
  if (copy.handle == 0) return Revoked::kOver;
  const Revoked revoked = revoke(copy, terminate, now_ns);
  return revoked == Revoked::kUnknown ? Revoked::kOver : revoked;
}

// Killed in between, the wish is there and nobody was rung: the gateway looks at all its tasks now and then.
bool Control::leave_wish(TaskId id, ControlWord word, bool terminate) noexcept {
  Descriptor& d = segment_.descriptor(id.slot());
  auto& cell = progress_cell(d, word.grant());
  std::uint64_t was = cell.load(std::memory_order_acquire);
  if (d.control.load() != word) return false;
  const WishWord before(was);
  const WishWord wish(word.grant(), terminate || (before.of(word.grant()) && before.terminate()));
  // order(tagged.write): acq_rel, as every tagged word; the gateway's loads in Outbox::wish.
  if (was != wish.bits() && !cell.compare_exchange_strong(was, wish.bits(), std::memory_order_acq_rel)) return false;
  const std::uint32_t participant = word.owner() - 1;
  if (word.owner() == 0 || participant >= segment_.geometry().participant_count) return true;  // for the next gateway
  auto& hints = segment_.row(participant).revoke;
  hints[id.handle % shm::kRevokeWords].store(id.handle, std::memory_order_release);
  shm::ring(segment_, participant);
  return true;
}

Revoked Control::revoke(TaskId asked, bool terminate, std::int64_t now_ns) noexcept {
  const TaskId id = current_id(segment_, asked);
  if (id.epoch != segment_.epoch() || id.slot() >= segment_.slots_used()) return Revoked::kUnknown;
  Descriptor& d = segment_.descriptor(id.slot());
  // Each new look follows a change by somebody else. Where it does not, the descriptor makes no sense.
  for (int look = 0; look < kMostLooks; ++look) {
    const ControlWord word = d.control.load();
    if (word.generation() < id.generation()) return Revoked::kUnknown;
    if (word.generation() != id.generation()) return revoke_moved(id, terminate, now_ns);
    if (is_run(d) != (id.item() != 0)) return Revoked::kUnknown;
    if (id.item() != 0 && (run_pending(d, word) >> (id.item() - 1) & 1) == 0) {
      // Over, or a task of its own; unless the slot lives on meanwhile.
      if (d.control.load() == word) return revoke_moved(id, terminate, now_ns);
      continue;
    }
    if (id.item() != 0 && word.state() == State::kReady) {
      const std::int32_t cancelled = cancel_items(id.slot(), word, 1u << (id.item() - 1), now_ns);
      if (cancelled < 0) continue;
      return cancelled == 1 ? Revoked::kCancelled : revoke_moved(id, terminate, now_ns);
    }
    switch (word.state()) {
      case State::kReady:
      case State::kDelayed:
      case State::kWaiting:
        if (is_undecided(word)) return Revoked::kUnknown;
        if (cancel_waiting(id.slot(), word, now_ns)) return Revoked::kCancelled;
        continue;  // it moved on meanwhile: look again
      case State::kLeased: {
        if (!terminate) return Revoked::kRunning;
        const std::uint32_t participant = word.owner() - 1;
        if (participant >= segment_.geometry().participant_count) return Revoked::kUnknown;
        shm::RosterRow& row = segment_.row(participant);
        if (revoke_requested(row, id)) return Revoked::kAsked;
        // The oldest request gives way when all words are taken.
        for (auto& request : row.revoke) {
          std::uint64_t empty = 0;
          if (request.compare_exchange_strong(empty, id.handle, std::memory_order_acq_rel)) return Revoked::kAsked;
        }
        row.revoke[id.handle % shm::kRevokeWords].store(id.handle, std::memory_order_release);
        return Revoked::kAsked;
      }
      case State::kOutbox:
        if (leave_wish(id, word, terminate)) return Revoked::kExported;
        continue;  // it moved on meanwhile: look again
      default: return word.state() == State::kAlloc ? Revoked::kUnknown : Revoked::kOver;
    }
  }
  return Revoked::kUnknown;
}

bool Control::revoke_requested(const shm::RosterRow& row, TaskId id) noexcept {
  return std::any_of(std::begin(row.revoke), std::end(row.revoke),
                     [id](const auto& r) { return r.load(std::memory_order_acquire) == id.handle; });
}

bool Control::take_revoke_request(shm::RosterRow& row, TaskId id) noexcept {
  for (auto& request : row.revoke) {
    std::uint64_t expected = id.handle;
    if (request.load(std::memory_order_relaxed) == id.handle &&
        request.compare_exchange_strong(expected, 0, std::memory_order_acq_rel))
      return true;
  }
  return false;
}

void Control::pause(std::uint32_t queue, std::int64_t now_ns) noexcept {
  segment_.queue(queue).paused.store(1, std::memory_order_seq_cst);
  engine_.tell_queue(shm::EventKind::kQueuePaused, queue, now_ns);
}

void Control::resume(std::uint32_t queue, std::int64_t now_ns) noexcept {
  segment_.queue(queue).paused.store(0, std::memory_order_seq_cst);
  shm::wake_workers(segment_, queue, segment_.geometry().participant_count);
  engine_.tell_queue(shm::EventKind::kQueueResumed, queue, now_ns);
}

std::uint64_t Control::purge(std::uint32_t queue, std::int64_t now_ns) noexcept {
  std::uint64_t purged = 0;
  const auto used = segment_.slots_used();
  for (std::uint32_t slot = 0; slot < used; ++slot) {
    const Descriptor& d = segment_.descriptor(slot);
    const ControlWord word = d.control.load();
    const bool waiting = word.state() == State::kReady || word.state() == State::kDelayed;
    if (!waiting || d.queue != queue) continue;
    if (is_run(d)) {
      const std::int32_t cancelled = cancel_items(slot, word, full_mask(kRunItems), now_ns);
      if (cancelled > 0) purged += static_cast<std::uint64_t>(cancelled);
    } else if (cancel_waiting(slot, word, now_ns)) {
      ++purged;
    }
  }
  return purged;
}

void Control::set_limits(std::uint32_t queue, const Limits& limits) noexcept {
  shm::QueueRow& row = segment_.queue(queue);
  const auto u32 = [](std::int64_t v) { return static_cast<std::uint32_t>(std::min<std::int64_t>(v, UINT32_MAX)); };
  if (limits.max_length >= 0) row.max_length.store(u32(limits.max_length), std::memory_order_release);
  if (limits.concurrency >= 0) row.concurrency.store(u32(limits.concurrency), std::memory_order_release);
  if (limits.set_rate) row.rate.store(pack_rate(limits.rate), std::memory_order_release);
  if (limits.overflow >= 0) row.overflow.store(static_cast<std::uint32_t>(limits.overflow), std::memory_order_release);
  if (limits.lowest_first >= 0)
    row.lowest_first.store(static_cast<std::uint32_t>(limits.lowest_first), std::memory_order_release);
  if (limits.dead_max >= 0) row.dead_max.store(u32(limits.dead_max), std::memory_order_release);
  if (limits.dead_retention_ns >= 0) row.dead_retention_ns.store(limits.dead_retention_ns, std::memory_order_release);
}

Settled set_progress(Engine& engine, const Lease& lease, double fraction, std::string_view data) noexcept {
  Descriptor& d = engine.segment().descriptor(lease.slot);
  auto& cell = progress_cell(d, lease.word.grant());
  std::uint64_t was = cell.load(std::memory_order_acquire);
  if (d.control.load() != lease.word) return Settled::kFenced;
  // Somebody is about to take the lease, and has written what the next grant must know (attempts, a run's items
  // that are over): that counts for more.
  if (TaggedWord(was).grant() == lease.word.grant() + 1) return Settled::kDone;
  const ProgressWord previous(was);
  const std::uint32_t old_block = previous.of(lease.word.grant()) ? previous.block() : 0;
  shm::BlockId block = shm::kNoBlock;
  if (!data.empty()) block = engine.store_result(lease, std::as_bytes(std::span(data.data(), data.size())));
  const ProgressWord said(lease.word.grant(), fraction, lease.item, block == shm::kNoBlock ? 0 : block + 1);
  if (!cell.compare_exchange_strong(was, said.bits(), std::memory_order_acq_rel)) {
    if (block != shm::kNoBlock)
      engine.blocks().give_back(block, lease.slot, lease.word.generation(), shm::BlockKind::kResult);
    return Settled::kFenced;
  }
  if (old_block != 0)
    engine.blocks().give_back(old_block - 1, lease.slot, lease.word.generation(), shm::BlockKind::kResult);
  engine.self().beat();
  return Settled::kDone;
}

bool read_progress(Engine& engine, std::uint32_t slot, ControlWord word, std::uint32_t item, Progress& into) {
  Descriptor& d = engine.segment().descriptor(slot);
  const auto& cell = progress_cell(d, word.grant());
  for (;;) {  // each failed round is another thing that the task said
    const ProgressWord said(cell.load(std::memory_order_acquire));
    // A tally of grant 0 never stands here (it is not written); of other grants it has another tag.
    if (!said.of(word.grant()) || said.item() != item) return false;
    into.fraction = said.fraction();
    into.data = said.block() == 0 ? std::string() : text_of_block(engine, said.block() - 1, slot, word);
    if (d.control.load() != word) return false;
    // The block may have been given back, and be somebody else's by now.
    if (cell.load(std::memory_order_acquire) == said.bits()) return true;
  }
}

}  // namespace stem::engine
