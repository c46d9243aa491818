// Looking: which slots, and what there is to say of each. See writer.cpp for when it is written.
#include <algorithm>
#include <bit>
#include <utility>

#include "engine/run.hpp"
#include "engine/unique.hpp"
#include "journal/writer.hpp"
#include "shm/names.hpp"

namespace stem::journal {

using engine::TaskId;
using shm::ControlWord;
using shm::Descriptor;
using shm::State;

namespace {

constexpr std::uint32_t kPatrolStretch = 65'536;     // of a patrol, which mostly finds nothing
constexpr std::uint32_t kStretch = 8192;             // slots looked at between two looks at the marks
constexpr std::int64_t kPatrolPassNs = 500'000'000;  // every slot at least that often
constexpr std::uint32_t kDeadStamp = 1u << 16;
constexpr std::size_t kAhead = 8;        // descriptors on their way from memory
constexpr std::size_t kBlocksAhead = 2;  // and the blocks of runs, whose descriptors are there by then
constexpr int kLooks = 16;               // at a task that changes under our eyes

// What of a task the journal has to know anew when it changes.
std::uint32_t stamp_of(ControlWord word) { return word.grant() | (word.state() == State::kDead ? kDeadStamp : 0); }

bool is_task(State state) {
  return state == State::kReady || state == State::kDelayed || state == State::kLeased || state == State::kOutbox ||
         state == State::kDead;
}

void prefetch_items(engine::Engine& engine, const Descriptor& d) {
  const std::uint32_t block = d.block;
  const auto* at =
      engine::is_run(d) && block != 0 ? reinterpret_cast<const std::byte*>(engine.blocks().header(block - 1)) : nullptr;
  for (std::uint32_t line = 0; at != nullptr && line <= engine::kRunItems; ++line)
    __builtin_prefetch(at + std::size_t{line} * shm::kCacheLineBytes, 0);
}

}  // namespace

void Writer::collect(std::int64_t now_ns) {
  const bool was_empty = filling_->batch.empty() && ends_.empty() && filling_->frees == 0;
  if (segment_.header().journal_rescan.exchange(0, std::memory_order_seq_cst) != 0) begin_scan();
  if (scanning_) scan();  // first: who marks much must not hold it up
  look_at_marks();
  patrol(now_ns);
  compact();
  if (was_empty) filling_since_ns_ = now_ns;
}

// Once, and, when ends were seen, once more: what was marked before them is then said, and they may be.
void Writer::look_at_marks() {
  for (int sweeps = 0; sweeps < 2; ++sweeps) {
    if (!looking_) {
      if (ends_.empty() && !is_awaited() && !marks_.any()) return;
      looking_ = true;
      mark_line_ = 0;
      // order(journal.looks): seq_cst; before the marks are taken: who has marked and then reads the number of a look
      // that is over or under way waits for the next one.
      segment_.header().journal_looks.store(++looks_, std::memory_order_seq_cst);
    }
    if (!sweep()) return;
    looking_ = false;
    if (!std::exchange(one_was_changing_, false)) position_ = looks_;  // or the next look is the one
    if (ends_.empty() || has_ended(ends_.back())) return;
  }
}

// False when the batch is full before the last mark.
bool Writer::sweep() {
  shm::JournalMarks::Line line;
  for (;;) {
    for (; marked_next_ < marked_.size(); ++marked_next_) {
      if (!room()) return false;
      if (marked_next_ + kAhead < marked_.size())
        __builtin_prefetch(&segment_.descriptor(marked_[marked_next_ + kAhead]), 0);
      if (marked_next_ + kBlocksAhead < marked_.size())
        prefetch_items(engine_, segment_.descriptor(marked_[marked_next_ + kBlocksAhead]));
      const std::uint64_t before = filling_->batch.bytes();
      const bool looked = look(marked_[marked_next_]);
      ++marks_looked_at_;
      if (filling_->batch.bytes() == before) ++marks_in_vain_;
      if (looked) continue;
      marks_.set(marked_[marked_next_]);
      one_was_changing_ = true;
    }
    marked_.clear();
    marked_next_ = 0;
    if (!marks_.take(mark_line_, line)) return true;
    for (std::uint32_t word = 0; word < line.size(); ++word)
      for (std::uint64_t left = line[word]; left != 0; left &= left - 1) {
        const std::uint32_t slot =
            mark_line_ * shm::kMarkLineSlots + word * 64 + static_cast<std::uint32_t>(std::countr_zero(left));
        if (slot < shadow_.size()) marked_.push_back(slot);
      }
    ++mark_line_;
  }
}

void Writer::patrol(std::int64_t now_ns) {
  const std::uint32_t used = slots_used();
  const std::int64_t elapsed = std::clamp<std::int64_t>(now_ns - patrolled_ns_, 0, kPatrolPassNs);
  const auto share = static_cast<std::uint32_t>(std::uint64_t{used} * static_cast<std::uint64_t>(elapsed) /
                                                static_cast<std::uint64_t>(kPatrolPassNs));
  if (share == 0 && elapsed < kPatrolPassNs) return;  // let it grow
  patrolled_ns_ = now_ns;
  for (std::uint32_t i = 0; i < std::min(share + 1, kPatrolStretch) && room(); ++i) {
    if (patrol_cursor_ >= used) {
      // While all is being said anew, a tick's task may not have been said yet.
      if (scanning_ || !say_schedules()) break;
      patrol_cursor_ = 0;
      say_queues();
      break;
    }
    (void)look(patrol_cursor_++);
  }
}

void Writer::begin_scan() noexcept {
  scanning_ = held_ = true;
  scan_cursor_ = 0;
  filling_->ends_scan = flying_->ends_scan = false;
}

void Writer::scan() {
  if (scan_cursor_ == 0) say_queues();
  const std::uint32_t used = slots_used();
  for (std::uint32_t i = 0; i < kStretch && room() && scan_cursor_ < used; ++i)
    if (look(scan_cursor_)) ++scan_cursor_;  // what the scan says is to be whole: one that changes is looked at again
  if (scan_cursor_ < used) return;
  scanning_ = false;
  scanned_ = looks_;
  filling_->ends_scan = true;  // what the scan had to say is in here, or before; but for the ends that it saw
}

// The tasks that live on in the oldest file are said again; then it is not needed.
void Writer::compact() {
  if (scanning_ || held_ || broken_) return;
  if (!ends_.empty() && ends_.front().seen <= scanned_) return;
  if (compacting_ == 0) {
    if (!is_enough()) return;
    if (files_.front() == log_->sequence()) return;
    compacting_ = files_.front();
    compact_cursor_ = 0;
  }
  if (compact_cursor_ == ~0u) return;  // its last batch is on its way
  const std::uint32_t used = slots_used();
  for (std::uint32_t i = 0; i < kStretch && room() && compact_cursor_ < used; ++i, ++compact_cursor_) {
    const Said& said = shadow_.of(compact_cursor_);
    if (said.generation != 0 && said.sequence <= compacting_) (void)look(compact_cursor_, /*again=*/true);
  }
  if (compact_cursor_ < used) return;
  if (!schedules_.again(filling_->batch, compacting_, [this] { return room(); })) return;
  // A task that changed under our eyes may have been left: then another round.
  const auto left = [this](std::uint32_t slot) {
    return shadow_.of(slot).generation != 0 && shadow_.of(slot).sequence <= compacting_;
  };
  for (std::uint32_t slot = 0; slot < used; ++slot) {
    if (!left(slot)) continue;
    compact_cursor_ = slot;
    return;
  }
  filling_->frees = compacting_;
  compact_cursor_ = ~0u;
}

// Compares one slot with what was said of it. What its word can be:
// (1) another life than the one that was said: that one is over; go on with this one.
// (2) a run: its image, and which of its items are over.
// (3) over, but its result is kept: so is that.
// (4) settling: acknowledged, with obligations; it stays what it was until they are done. One that was never said, or
//     only in doubt, is, for who should meet them may be stopped half way. (A run has none.)
// (5) no task, or of a queue without a journal: what was said of it is over.
// (6) a task that was never said, or only in doubt: its whole image.
// (7) a task that has changed since: its state.
// False when it has changed under our eyes all the time: to be looked at again.
bool Writer::look(std::uint32_t slot, bool again) {
  const Descriptor& d = segment_.descriptor(slot);
  for (int attempt = 0; attempt < kLooks; ++attempt) {
    const ControlWord word = d.control.load();
    const std::uint32_t queue = d.queue;
    const Said said = shadow_.of(slot);
    if (said.generation != 0 && said.generation != word.generation()) {
      end(slot);
      continue;
    }
    const bool known = said.generation != 0;
    const bool settling = word.state() == State::kSettling;
    if (settling && known && !said.doubtful) return true;  // who compacts comes back to it
    const bool run = engine::is_run(d);
    const bool ours =
        queue < shm::queue_total(segment_) && shm::durability_of(segment_, queue) != shm::Durability::kMemory;
    const bool task = ours && is_task(word.state());
    const bool result = ours && !run && word.state() == State::kDone;
    if (d.control.load() != word) continue;
    if (settling) {
      if (ours && !run) (void)say(slot, word, /*whole=*/true);
      return true;
    }
    if (result) {
      const bool written = said.stamp == Said::kResult && !said.doubtful && !again;
      if (!known || (said.stamp != Said::kEnding && !written)) end_with_result(slot, word, said);
      return true;
    }
    if (!task) {
      if (known) end(slot);
      return true;
    }
    const bool whole = !known || again || said.doubtful;
    if (run) {
      if (say_run(slot, word, whole)) return true;
    } else {
      if (!whole && said.stamp == stamp_of(word)) return true;
      if (say(slot, word, whole)) return true;
    }
    if (d.control.load() == word) return true;  // it makes no sense, and would not at the next look either
  }
  return false;
}

bool Writer::say(std::uint32_t slot, ControlWord word, bool whole) {
  say_names();
  Load& load = *filling_;
  const std::uint64_t before = load.batch.bytes();
  if (!whole) {
    if (!append_state(load.batch, engine_, slot, word, clock_)) return false;
    shadow_.state(slot, stamp_of(word));
    return true;
  }
  std::optional<engine::TickNote> tick;
  if (!append_task(load.batch, engine_, slot, word, word.state(), clock_, &tick)) return false;
  if (tick && tick->row < shm::kScheduleRows)
    schedules_.tick(load.batch, static_cast<std::uint32_t>(tick->row), tick->planned_ns);
  shadow_.image(slot, word.generation(), stamp_of(word), load.batch.bytes() - before);
  load.images.push_back(slot);
  return true;
}

// That items are over is said like any end: once what they left behind has been said. A run that is said again says at
// once what the journal knows already, since the file that says so may go; after a failed write it knows nothing.
bool Writer::say_run(std::uint32_t slot, ControlWord word, bool whole) {
  const std::uint32_t over = items_over(slot, word);
  if (!segment_.descriptor(slot).control.stands(word)) return false;
  const TaskKey key{segment_.epoch(), slot, word.generation()};
  if (whole) {
    say_names();
    Load& load = *filling_;
    const Said said = shadow_.of(slot);
    const std::uint64_t before = load.batch.bytes();
    if (!append_run(load.batch, engine_, slot, word, clock_)) return false;
    const std::uint32_t known = said.generation == word.generation() && !said.doubtful ? said.items_over : 0;
    const std::uint32_t stamp = said.generation == word.generation() && !said.doubtful ? said.stamp : 0;
    if (known != 0) append_items(load.batch, key, known);
    shadow_.image(slot, word.generation(), stamp, load.batch.bytes() - before);
    shadow_.items(slot, known);
    load.images.push_back(slot);
  }
  if ((over & ~shadow_.of(slot).stamp) == 0) return true;
  ends_.push_back({key, looks_, /*result=*/false, over});
  shadow_.state(slot, shadow_.of(slot).stamp | over);
  return true;
}

// One that has moved out is no more the run's once it is said as a task of its own. (While its copy waits, it is to be
// seen whether it has moved; one that has come and gone is over.)
std::uint32_t Writer::items_over(std::uint32_t slot, ControlWord word) {
  const engine::MaskWord mask(segment_.descriptor(slot).due.load(std::memory_order_acquire));
  if (!mask.of(word.generation())) return 0;
  std::uint32_t over = mask.over() & engine::full_mask(engine::kRunItems);
  if (std::exchange(looking_at_copies_, true)) return over;  // an enemy's: the copy of an item is no run
  for (std::uint32_t left = mask.moved() & ~over & engine::full_mask(engine::kRunItems); left != 0; left &= left - 1) {
    const auto item = static_cast<std::uint32_t>(std::countr_zero(left)) + 1;
    const std::uint64_t handle = TaskId::make(1, slot, word.generation(), item).handle;
    const TaskId copy{1, engine::Unique(segment_, engine_.blocks()).holder(engine::moved_key(handle), 0)};
    const bool there = copy.handle != 0 && copy.slot() < shadow_.size();
    if (there && segment_.descriptor(copy.slot()).control.load().state() == State::kWaiting) continue;
    if (!there || look(copy.slot())) over |= engine::item_bit(item);
  }
  looking_at_copies_ = false;
  return over;
}

void Writer::end(std::uint32_t slot) {
  ends_.push_back({{segment_.epoch(), slot, shadow_.of(slot).generation}, looks_});
  shadow_.forget(slot);
}

void Writer::end_with_result(std::uint32_t slot, ControlWord word, const Said& said) {
  ends_.push_back({{segment_.epoch(), slot, word.generation()}, looks_, /*result=*/true});
  if (said.generation == 0)
    shadow_.image(slot, word.generation(), Said::kEnding, 0);
  else
    shadow_.state(slot, Said::kEnding);
}

// One whose result is gone meanwhile is left as it is: its end follows, or will be seen.
void Writer::say_end(Load& load, const End& end) {
  const std::uint32_t slot = end.key.slot;
  if (end.items != 0) {
    if (shadow_.of(slot).generation != end.key.generation) return;  // all of it is over
    append_items(load.batch, end.key, end.items);
    return shadow_.items(slot, end.items);
  }
  if (!end.result) {
    // Said again meanwhile: its queue has a journal again, or it was being cancelled and has a result now.
    if (shadow_.of(slot).generation == end.key.generation) return;
    return append_end(load.batch, end.key);
  }
  const ControlWord word = segment_.descriptor(slot).control.load();
  if (word.state() != State::kDone || word.generation() != end.key.generation) return;
  say_names();
  const std::uint64_t before = load.batch.bytes();
  if (!append_result(load.batch, engine_, slot, word, clock_)) {
    if (segment_.descriptor(slot).control.load() != word) return;
    append_end(load.batch, end.key);  // it makes no sense: it must not run again for that
    shadow_.image(slot, word.generation(), Said::kResult, 0);
    return;
  }
  shadow_.image(slot, word.generation(), Said::kResult, load.batch.bytes() - before);
  load.images.push_back(slot);
}

// Names that have come since the last time. One that is only being made has no task yet; it is said again.
void Writer::say_names() {
  const std::uint32_t queues = shm::queue_total(segment_);
  const std::uint32_t tasks = shm::task_total(segment_);
  if (queues_said_ < queues) {
    append_names(filling_->batch, segment_, NameKind::kQueue, queues_said_, queues);
    while (queues_said_ < queues && !shm::queue_name(segment_, queues_said_).empty()) ++queues_said_;
  }
  if (tasks_said_ < tasks) {
    append_names(filling_->batch, segment_, NameKind::kTask, tasks_said_, tasks);
    while (tasks_said_ < tasks && !shm::task_name(segment_, tasks_said_).empty()) ++tasks_said_;
  }
}

void Writer::say_queues() {
  const std::uint32_t queues = shm::queue_total(segment_);
  if (settings_said_.size() < queues) settings_said_.resize(queues, engine::QueueSettings{});
  for (std::uint32_t queue = 0; queue < queues; ++queue) {
    const engine::QueueSettings now = engine::settings_of(segment_, queue);
    const std::string_view name = shm::queue_name(segment_, queue);
    if (settings_said_[queue] == now || name.empty()) continue;
    append_settings(filling_->batch, name, now);
    settings_said_[queue] = now;
  }
}

bool Writer::say_schedules() {
  return schedules_.look(filling_->batch, [this] { return room(); });
}

}  // namespace stem::journal
