// Looking: which slots, and what there is to say of each. See writer.cpp for when it is written.
#include <algorithm>

#include "engine/run.hpp"
#include "journal/writer.hpp"
#include "shm/names.hpp"

namespace stem::journal {

using shm::ControlWord;
using shm::Descriptor;
using shm::State;

namespace {

constexpr std::uint32_t kPatrolStretch = 65'536;     // of a patrol, which mostly finds nothing
constexpr std::uint32_t kStretch = 8192;             // slots looked at between two looks at the hints
constexpr std::int64_t kPatrolPassNs = 500'000'000;  // every slot at least that often
constexpr std::uint32_t kDeadStamp = 1u << 16;
constexpr int kLooks = 16;  // at a task that changes under our eyes; then its next hint or the patrol is soon enough

// What of a task the journal has to know anew when it changes.
std::uint32_t stamp_of(ControlWord word) { return word.grant() | (word.state() == State::kDead ? kDeadStamp : 0); }

bool is_task(State state) {
  return state == State::kReady || state == State::kDelayed || state == State::kLeased || state == State::kOutbox ||
         state == State::kDead;
}

}  // namespace

void Writer::collect(std::int64_t now_ns) {
  const bool was_empty = filling_->batch.empty() && ends_.empty();
  look_at_hints();
  // After them: who finds no room for a later hint is seen the next time.
  if (segment_.header().journal_overflowed.exchange(0, std::memory_order_seq_cst) != 0) begin_scan();
  if (scanning_) scan();
  patrol(now_ns);
  compact();
  if (was_empty) filling_since_ns_ = now_ns;
}

void Writer::look_at_hints() {
  const std::uint64_t start = hints_.head();
  std::uint64_t position = start;
  for (shm::HintCell cell; room() && hints_.peek(position, cell); ++position)
    if (cell.slot() < shadow_.size()) look(cell.slot());
  if (position != start) hints_.advance_head(start, position);
  position_ = position;
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
      patrol_cursor_ = 0;
      say_queues();
      break;
    }
    look(patrol_cursor_++);
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
  for (std::uint32_t i = 0; i < kStretch && room() && scan_cursor_ < used; ++i) look(scan_cursor_++);
  if (scan_cursor_ < used) return;
  scanning_ = false;
  filling_->ends_scan = true;  // what the scan had to say is in here, or before
}

// The tasks that live on in the oldest file are said again; then it is not needed.
void Writer::compact() {
  if (scanning_ || held_ || broken_) return;
  if (compacting_ == 0) {
    const std::uint64_t on_disk = files_.size() * options_.file_bytes;
    if (on_disk <= 2 * shadow_.live_bytes() + 3 * options_.file_bytes) return;
    if (files_.front() == log_->sequence()) return;
    compacting_ = files_.front();
    compact_cursor_ = 0;
  }
  if (compact_cursor_ == ~0u) return;  // its last batch is on its way
  const std::uint32_t used = slots_used();
  for (std::uint32_t i = 0; i < kStretch && room() && compact_cursor_ < used; ++i, ++compact_cursor_) {
    const Said& said = shadow_.of(compact_cursor_);
    if (said.generation != 0 && said.sequence <= compacting_) look(compact_cursor_, /*again=*/true);
  }
  if (compact_cursor_ < used) return;
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
// (2) no task, a run, or of a queue without a journal: what was said of it is over.
// (3) settling: acknowledged, with obligations; it stays what it was until they are done.
// (4) a task that was never said, or only in doubt: its whole image.
// (5) a task that has changed since: its state.
void Writer::look(std::uint32_t slot, bool again) {
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
    if (word.state() == State::kSettling) return;  // who compacts comes back to it
    const bool task = is_task(word.state()) && !engine::is_run(d) && queue < shm::queue_total(segment_) &&
                      shm::durability_of(segment_, queue) != shm::Durability::kMemory;
    if (d.control.load() != word) continue;
    if (!task) {
      if (known) end(slot);
      return;
    }
    if (known && !again && !said.doubtful && said.stamp == stamp_of(word)) return;
    if (say(slot, word, /*whole=*/!known || again || said.doubtful)) return;
  }
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
  if (!append_task(load.batch, engine_, slot, word, word.state(), clock_)) return false;
  shadow_.image(slot, word.generation(), stamp_of(word), load.batch.bytes() - before);
  load.images.push_back(slot);
  return true;
}

void Writer::end(std::uint32_t slot) {
  ends_.push_back({{segment_.epoch(), slot, shadow_.of(slot).generation}, hints_.tail()});
  shadow_.forget(slot);
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
  durability_said_.resize(std::max<std::size_t>(durability_said_.size(), queues));
  for (std::uint32_t queue = 0; queue < queues; ++queue) {
    const auto now = static_cast<std::uint8_t>(shm::durability_of(segment_, queue));
    if (durability_said_[queue] == now) continue;
    append_queue(filling_->batch, segment_, queue);
    durability_said_[queue] = now;
  }
}

}  // namespace stem::journal
