#include "engine/verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "engine/query.hpp"
#include "shm/death.hpp"
#include "shm/names.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Descriptor;
using shm::State;

namespace {

constexpr std::uint64_t kMostFindings = 20;

bool owned(State s) {
  return s == State::kAlloc || s == State::kLeased || s == State::kSettling || s == State::kRetiring;
}

class Verifier {
 public:
  explicit Verifier(Engine& engine) : engine_(engine), segment_(engine.segment()) {}

  Verification run() {
    const Totals before = totals();
    live_.assign(shm::queue_total(segment_), 0);
    slots();
    blocks();
    schedules();
    rings();
    const Totals after = totals();
    counts(before, after);
    return std::move(out_);
  }

 private:
  struct Totals {
    std::vector<std::uint64_t> enqueued, ended;
  };

  void find(Finding::Severity severity, const char* invariant, std::string detail) {
    if (++found_[invariant] > kMostFindings) {
      ++out_.suppressed;
      return;
    }
    out_.findings.push_back({severity, invariant, std::move(detail)});
  }
  void broken(const char* invariant, std::string detail) {
    find(Finding::Severity::kBroken, invariant, std::move(detail));
  }
  void pending(const char* invariant, std::string detail) {
    find(Finding::Severity::kPending, invariant, std::move(detail));
  }

  Totals totals() const {
    Totals t;
    const Query query(engine_);
    for (std::uint32_t q = 0; q < shm::queue_total(segment_); ++q) {
      const CounterTotals c = query.counters(q);
      t.enqueued.push_back(c[shm::Counter::kEnqueued]);
      t.ended.push_back(c.ended());
    }
    return t;
  }

  void slots() {
    const auto used = segment_.slots_used();
    out_.slots = used;
    for (std::uint32_t slot = 0; slot < used; ++slot) one_slot(slot);
  }

  void one_slot(std::uint32_t slot) {
    const Descriptor& d = segment_.descriptor(slot);
    const ControlWord word = d.control.load();
    if (!word.legal_state()) {
      broken("state",
             fmt::format("slot {}: state {} does not exist (word {:#018x})", slot, word.bits() & 15, word.bits()));
      return;
    }
    ++out_.by_state[static_cast<int>(word.state())];
    // In the outbox a task is a gateway's, or waits for the next one.
    if (word.state() != State::kOutbox && owned(word.state()) != (word.owner() != 0)) {
      broken("owner", fmt::format("slot {}: {} with owner {}", slot, shm::to_string(word.state()), word.owner()));
      return;
    }
    if (word.owner() != 0) owner_of(slot, word);
    if (word.state() == State::kFree || word.state() == State::kAlloc || word.state() == State::kRetiring) return;
    const std::uint32_t queue = d.queue;
    const std::uint32_t task = d.task;
    const std::uint32_t block = d.block;
    const std::uint32_t bytes = d.payload_bytes;
    const bool fields = queue < live_.size() && task < shm::task_total(segment_) && d.priority < shm::kPriorities &&
                        bytes <= shm::kMaxPayloadBytes && (block != 0 || bytes <= shm::kInlineBytes);
    const bool block_ok =
        block == 0 || word.state() == State::kDone || word.state() == State::kSettling ||
        !engine_.blocks().bytes(block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload)).empty();
    if (d.control.load() != word) return;  // it moved while we looked; the next pass sees it
    if (!fields && word.state() != State::kQuarantine) {
      broken("descriptor", fmt::format("slot {} ({}): queue {}, task {}, priority {}, payload {} bytes", slot,
                                       shm::to_string(word.state()), queue, task, d.priority, bytes));
      return;
    }
    if (!block_ok && word.state() != State::kQuarantine)
      broken("block", fmt::format("slot {} ({}): its payload block {} is not its own", slot,
                                  shm::to_string(word.state()), block - 1));
    const shm::TaggedWord outcome(d.outcome.load(std::memory_order_acquire));
    // Settling on its way to the dead letters (links first) is not over.
    const bool dying = word.state() == State::kSettling && outcome.grant() == word.grant() &&
                       outcome.value() >> 32 == static_cast<std::uint64_t>(OutcomeKind::kFailed);
    bool final = false;
    if (word.state() == State::kWaiting && (d.flags & shm::kMovedOut) != 0 &&
        !engine_.moved_item_counts(slot, word, final))
      return;  // counted as an item of its run still
    if (queue < live_.size() && word.state() != State::kDone && (word.state() != State::kSettling || dying))
      live_[queue] += tasks_in(d, word);
  }

  void owner_of(std::uint32_t slot, ControlWord word) {
    if (word.owner() > segment_.geometry().participant_count) {
      broken("owner", fmt::format("slot {}: owner {} is beyond the roster", slot, word.owner()));
      return;
    }
    shm::RosterRow& row = segment_.row(word.owner() - 1);
    const auto state = shm::row_state(row.status.load(std::memory_order_acquire));
    const bool gone = state != shm::RowState::kLive || shm::signalled_dead(row);
    if (!gone || segment_.descriptor(slot).control.load() != word) return;
    if (state == shm::RowState::kFree) {
      broken("owner-alive", fmt::format("slot {}: {} by participant {}, whose row is free", slot,
                                        shm::to_string(word.state()), word.owner() - 1));
    } else {
      pending("owner-alive", fmt::format("slot {}: {} by participant {}, which is gone", slot,
                                         shm::to_string(word.state()), word.owner() - 1));
    }
  }

  void blocks() {
    const auto used = std::min<std::uint64_t>(segment_.header().superblocks_used.load(std::memory_order_acquire),
                                              segment_.layout().superblock_count);
    const auto* rows = segment_.at<shm::SuperblockRow>(segment_.layout().superblock_rows);
    for (std::uint32_t s = 0; s < used; ++s) {
      const std::uint32_t block_class = rows[s].block_class.load(std::memory_order_acquire) - 1;
      if (block_class >= shm::kBlockClasses) {
        broken("block-tag", fmt::format("superblock {}: class {} does not exist", s, block_class + 1));
        continue;
      }
      const std::uint32_t count =
          std::min<std::uint32_t>(rows[s].blocks_used.load(std::memory_order_acquire),
                                  static_cast<std::uint32_t>(shm::kSuperblockBytes / shm::kBlockStride[block_class]));
      for (std::uint32_t b = 0; b < count; ++b) one_block(s << 14 | b);
    }
  }

  void one_block(shm::BlockId id) {
    ++out_.blocks;
    const shm::BlockHeader* header = engine_.blocks().header(id);
    if (header == nullptr) return;
    const std::uint64_t tag = header->tag.load(std::memory_order_acquire);
    if (shm::tag_kind(tag) == shm::BlockKind::kFree) return;
    const std::uint32_t slot = shm::tag_slot(tag);
    if (shm::tag_kind(tag) == shm::BlockKind::kFilling) {
      if (!shm::may_fill(segment_, tag) && !named_by_schedule(id) && header->tag.load(std::memory_order_acquire) == tag)
        pending("orphan", fmt::format("block {}: participant {}, who was filling it, is gone", id, slot));
      return;
    }
    if (shm::tag_kind(tag) == shm::BlockKind::kSchedule) {
      definition_block(id, tag);
      return;
    }
    if (slot >= segment_.geometry().slot_count || static_cast<int>(shm::tag_kind(tag)) > 4) {
      broken("block-tag", fmt::format("block {}: tag {:#018x} names no slot", id, tag));
      return;
    }
    const Descriptor& d = segment_.descriptor(slot);
    const ControlWord word = d.control.load();
    if (header->tag.load(std::memory_order_acquire) != tag || shm::kept_with(d, word, tag, id)) return;
    if (shm::tag_generation(tag) > word.generation())
      broken("block-tag", fmt::format("block {}: life {} of slot {}, which is only at {}", id, shm::tag_generation(tag),
                                      slot, word.generation()));
    else if (shm::tag_generation(tag) < word.generation() || word.state() == State::kFree)
      pending("orphan", fmt::format("block {} of slot {}, whose life is over", id, slot));
  }

  bool named_by_schedule(shm::BlockId id) const {
    const std::uint32_t rows = segment_.schedule_total();
    if (rows == 0) return false;
    const shm::DirectoryWord directory(segment_.schedules().directory.load(std::memory_order_acquire));
    if (directory.open() && directory.block() == id) return true;
    for (std::uint32_t row = 0; row < rows; ++row) {
      const shm::DefinitionWord word(segment_.schedule(row).definition.load(std::memory_order_acquire));
      if (word.has_entry() && word.block() == id) return true;
    }
    return false;
  }

  void definition_block(shm::BlockId id, std::uint64_t tag) {
    const std::uint32_t row = shm::tag_slot(tag);
    if (row >= segment_.schedule_total()) {
      broken("block-tag", fmt::format("block {}: tag {:#018x} names no schedule", id, tag));
      return;
    }
    const shm::DefinitionWord word(segment_.schedule(row).definition.load(std::memory_order_acquire));
    if (!word.has_entry() || word.block() != id)
      pending("orphan", fmt::format("block {}: a definition that schedule row {} has replaced", id, row));
  }

  void schedules() {
    for (std::uint32_t row = 0; row < segment_.schedule_total(); ++row) {
      const shm::ScheduleRow& schedule = segment_.schedule(row);
      const shm::DefinitionWord word(schedule.definition.load(std::memory_order_acquire));
      const shm::TurnWord turn(schedule.turn.load(std::memory_order_acquire));
      if (turn.open()) {
        if (turn.slot() >= segment_.geometry().slot_count)
          broken("schedule", fmt::format("schedule row {}: its turn names slot {}", row, turn.slot()));
        else if (schedule.turn.load(std::memory_order_acquire) == turn.bits())
          pending("schedule", fmt::format("schedule row {}: its tick was chosen and not let go yet", row));
      }
      if (!word.has_entry()) continue;
      const shm::BlockHeader* header = engine_.blocks().header(word.block());
      const std::uint64_t tag = header == nullptr ? 0 : header->tag.load(std::memory_order_acquire);
      const bool fits = shm::tag_kind(tag) == shm::BlockKind::kFilling ||
                        (shm::tag_kind(tag) == shm::BlockKind::kSchedule && shm::tag_slot(tag) == row);
      if (!fits && schedule.definition.load(std::memory_order_acquire) == word.bits())
        broken("schedule", fmt::format("schedule row {}: block {} is not its definition", row, word.block()));
    }
  }

  void rings() {
    const auto& l = segment_.layout();
    for (std::uint32_t q = 0; q < live_.size(); ++q) {
      for (std::uint32_t p = 0; p < shm::kPriorities; ++p) {
        std::uint64_t bits = segment_.queue(q).rings[p].load(std::memory_order_acquire);
        for (int depth = 0; bits != 0 && depth < shm::kSlotBits; ++depth) {
          const shm::RingRef ref(bits);
          if (ref.capacity_log2() > shm::kSlotBits || ref.offset() < l.rings ||
              ref.offset() + shm::ring_bytes(ref.capacity_log2()) > l.rings + segment_.geometry().ring_bytes) {
            broken("ring", fmt::format("queue {} priority {}: reference {:#x} points outside", q, p, bits));
            break;
          }
          ++out_.rings;
          const shm::Ring ring(segment_.at<shm::RingHeader>(ref.offset()), ref.capacity_log2());
          const std::uint64_t head = ring.head();
          const std::uint64_t tail = ring.tail();
          const auto distance = static_cast<std::int64_t>(tail - head);
          // The tail may lag behind the head by what dead pushers left; never by more than one lap.
          if (distance > static_cast<std::int64_t>(ring.capacity()) && ring.head() == head)
            broken("ring",
                   fmt::format("queue {} priority {}: {} hints in a ring of {}", q, p, distance, ring.capacity()));
          bits = ring.header()->previous.load(std::memory_order_acquire);
        }
      }
    }
  }

  void counts(const Totals& before, const Totals& after) {
    for (std::uint32_t q = 0; q < live_.size() && q < before.enqueued.size(); ++q) {
      const std::uint64_t live = live_[q];
      out_.live += live;
      out_.enqueued += after.enqueued[q];
      out_.ended += after.ended[q];
      const bool still = before.enqueued[q] == after.enqueued[q] && before.ended[q] == after.ended[q];
      out_.moving |= !still;
      // While tasks come and go, the scan may have seen any of those that moved, or not.
      const std::uint64_t most = after.enqueued[q] - before.ended[q];
      const std::uint64_t moved = after.ended[q] - before.ended[q] + after.enqueued[q] - before.enqueued[q];
      const std::uint64_t least = most > moved ? most - moved : 0;
      if (before.ended[q] <= after.enqueued[q] && live <= most && live >= least) continue;
      const std::uint64_t owed = uncounted(q);
      if (owed != 0 && before.ended[q] <= after.enqueued[q] + owed && live <= most + owed && live + owed >= least)
        pending("counts", fmt::format("queue '{}': somebody stands between a change and its counting ({} of {})",
                                      shm::queue_name(segment_, q), owed, live));
      else
        broken("counts", fmt::format("queue '{}': enqueued {} = live {} + ended {} does not hold (difference {})",
                                     shm::queue_name(segment_, q), after.enqueued[q], live, after.ended[q],
                                     static_cast<std::int64_t>(after.enqueued[q] - live - after.ended[q])));
    }
  }

  // Tasks of a queue whose change is on record and may have been made, and which are not counted yet: whoever was
  // about to count them was stopped, or killed and not swept yet.
  std::uint64_t uncounted(std::uint32_t queue) const {
    std::uint64_t owed = 0;
    const std::uint32_t rows = segment_.rows_used();
    for (std::uint32_t i = 0; i < rows; ++i) {
      const shm::RosterRow& row = segment_.row(i);
      if (row.op.load(std::memory_order_acquire) == 0) continue;
      const auto detail = shm::OpDetail::unpack(row.op_counter.load(std::memory_order_relaxed));
      if (detail.queue != queue || detail.counter >= shm::kCounterCount) continue;
      std::uint64_t counted = 0;
      if (!segment_.read(segment_.offset_of(&segment_.counters(i, queue).value[detail.counter]), &counted,
                         sizeof counted))
        continue;
      if (counted == row.op_count.load(std::memory_order_relaxed)) owed += detail.how_many;
    }
    return owed;
  }

  Engine& engine_;
  shm::Segment& segment_;
  Verification out_;
  std::vector<std::uint64_t> live_;
  std::map<std::string, std::uint64_t> found_;
};

}  // namespace

bool Verification::ok() const {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Finding& f) { return f.severity == Finding::Severity::kBroken; });
}

Verification verify(Engine& engine) { return Verifier(engine).run(); }

}  // namespace stem::engine
