#include "engine/query.hpp"

#include <algorithm>
#include <cstring>

#include "engine/control.hpp"
#include "engine/extension.hpp"
#include "engine/former.hpp"
#include "engine/limiter.hpp"
#include "engine/run.hpp"
#include "engine/unique.hpp"
#include "shm/death.hpp"
#include "shm/names.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Counter;
using shm::Descriptor;
using shm::State;
using shm::TaggedWord;

namespace {

// They point into a block that is somebody else's the next moment.
TaskExtras without_texts(TaskExtras extras) {
  for (std::string_view* text :
       {&extras.headers, &extras.meta, &extras.idempotency_key, &extras.link, &extras.link_error, &extras.retry_for,
        &extras.no_retry_for, &extras.origin, &extras.tick})
    *text = {};
  return extras;
}

// Statistics are read through the file: reading a hole through the mapping would commit it.
void add_histogram(const shm::Segment& s, const std::atomic<std::uint64_t>* row, base::HistogramSummary& into,
                   std::uint64_t* stats) {
  std::uint64_t words[shm::kHistogramRowBytes / 8];
  if (!s.read(s.offset_of(row), words, sizeof words)) return;
  into.add({words, base::kHistogramBuckets});
  if (stats == nullptr) return;
  for (std::uint32_t i = 0; i < shm::kTaskStats; ++i) stats[i] += words[base::kHistogramBuckets + i];
}

void count_state(QueueStats& q, State state, std::uint64_t tasks, std::int64_t enqueued_ns) {
  switch (state) {
    case State::kReady:
      q.ready += tasks;
      if (q.oldest_ready_ns == 0 || enqueued_ns < q.oldest_ready_ns) q.oldest_ready_ns = enqueued_ns;
      break;
    case State::kDelayed: ++q.delayed; break;
    case State::kWaiting: ++q.waiting; break;
    case State::kLeased: q.leased += tasks; break;
    case State::kOutbox: ++q.outbox; break;
    case State::kDead: ++q.dead; break;
    case State::kDone: ++q.kept; break;
    case State::kQuarantine: ++q.quarantined; break;
    default: break;
  }
}

}  // namespace

const char* name_of_state(State state, std::uint32_t attempts, OutcomeKind outcome) noexcept {
  switch (state) {
    case State::kReady: return attempts > 0 ? "retried" : "queued";
    case State::kDelayed: return attempts > 0 ? "retried" : "delayed";
    case State::kWaiting: return "queued";
    case State::kLeased: return "running";
    case State::kSettling: return "succeeded";
    case State::kDone:
      if (outcome == OutcomeKind::kFailed) return "failed";
      return outcome == OutcomeKind::kCancelled ? "cancelled" : "succeeded";
    case State::kDead: return "dead";
    case State::kRetiring: return "cancelled";
    case State::kOutbox: return "queued";
    case State::kQuarantine: return "failed";
    default: return "unknown";
  }
}

std::uint64_t CounterTotals::ended() const {
  return (*this)[Counter::kSucceeded] + (*this)[Counter::kCancelled] + (*this)[Counter::kExpired] +
         (*this)[Counter::kDropped] + (*this)[Counter::kDeadPurged] + (*this)[Counter::kExported];
}

CounterTotals Query::counters(std::uint32_t queue) const {
  CounterTotals total;
  for (std::uint32_t p = 0; p < segment_.rows_used(); ++p) {
    std::uint64_t row[shm::kCounterCount];
    if (!segment_.read(segment_.offset_of(&segment_.counters(p, queue)), row, sizeof row)) continue;
    for (std::uint32_t c = 0; c < shm::kCounterCount; ++c) total.value[c] += row[c];
  }
  return total;
}

std::vector<QueueStats> Query::queues() const {
  std::vector<QueueStats> all(shm::queue_total(segment_));
  for (std::uint32_t id = 0; id < all.size(); ++id) {
    QueueStats& q = all[id];
    const shm::QueueRow& row = segment_.queue(id);
    q.id = id;
    q.name = shm::queue_name(segment_, id);
    q.paused = row.paused.load(std::memory_order_relaxed) != 0;
    q.max_length = row.max_length.load(std::memory_order_relaxed);
    q.concurrency = row.concurrency.load(std::memory_order_relaxed);
    q.overflow = row.overflow.load(std::memory_order_relaxed);
    q.rate = unpack_rate(row.rate.load(std::memory_order_relaxed));
    q.lowest_first = row.lowest_first.load(std::memory_order_relaxed) != 0;
    q.counters = counters(id);
    for (std::uint32_t p = 0; p < segment_.rows_used(); ++p)
      add_histogram(segment_, segment_.wait_histogram(p, id), q.wait, nullptr);
  }
  for (std::uint32_t slot = 0; slot < segment_.slots_used(); ++slot) {
    const Descriptor& d = segment_.descriptor(slot);
    const ControlWord word = d.control.load();
    const std::uint32_t queue = d.queue;  // once: what was checked is what is used
    if (word.state() == State::kFree || word.state() == State::kAlloc || queue >= all.size()) continue;
    count_state(all[queue], word.state(), tasks_in(d, word), d.enqueued_ns);
  }
  return all;
}

std::vector<WorkerStats> Query::workers(HeldBy held_by) const {
  std::vector<WorkerStats> all;
  const std::uint64_t keeper = segment_.header().keeper.load(std::memory_order_acquire);
  std::vector<std::uint32_t> held(segment_.geometry().participant_count + 1);
  for (std::uint32_t slot = 0; held_by == HeldBy::kSlab && slot < segment_.slots_used(); ++slot) {
    const Descriptor& d = segment_.descriptor(slot);
    const ControlWord word = d.control.load();
    if (word.state() == State::kLeased && word.owner() < held.size()) held[word.owner()] += tasks_in(d, word);
  }
  for (std::uint32_t i = 0; i < segment_.rows_used(); ++i) {
    shm::RosterRow& row = segment_.row(i);
    const std::uint64_t status = row.status.load(std::memory_order_acquire);
    if (shm::row_state(status) == shm::RowState::kFree) continue;
    WorkerStats w;
    w.participant = i;
    w.incarnation = shm::row_incarnation(status);
    w.state = shm::row_state(status);
    w.name.assign(row.name, ::strnlen(row.name, sizeof row.name));
    w.role = static_cast<shm::Role>(row.role.load(std::memory_order_relaxed));
    w.signalled_dead = shm::signalled_dead(row);
    w.pid = row.pid;
    w.tid = row.tid;
    w.cpu = row.cpu.load(std::memory_order_relaxed);
    w.heartbeat = row.heartbeat.load(std::memory_order_relaxed);
    w.inflight = held_by == HeldBy::kSlab ? held[i + 1] : row.inflight.load(std::memory_order_relaxed);
    const std::uint64_t current = row.current.load(std::memory_order_acquire);
    if (current != 0) w.current = TaskId{segment_.epoch(), current};
    w.current_since_ns = row.current_since_ns.load(std::memory_order_relaxed);
    w.rss_bytes = row.rss_bytes.load(std::memory_order_relaxed);
    w.stop_mode = row.stop_mode.load(std::memory_order_relaxed);
    w.supervisor = row.supervisor.load(std::memory_order_relaxed);
    w.keeper = (keeper & 0xfff) == i + 1 && keeper >> 12 == w.incarnation;
    for (std::uint32_t q = 0; q < shm::queue_total(segment_); ++q) {
      std::uint64_t counters[shm::kCounterCount];
      if (!segment_.read(segment_.offset_of(&segment_.counters(i, q)), counters, sizeof counters)) continue;
      w.started += counters[static_cast<int>(Counter::kStarted)];
      w.succeeded += counters[static_cast<int>(Counter::kSucceeded)];
      w.failed += counters[static_cast<int>(Counter::kFailed)];
    }
    all.push_back(std::move(w));
  }
  return all;
}

std::vector<TaskNameStats> Query::task_names() const {
  std::vector<TaskNameStats> all(shm::task_total(segment_));
  for (std::uint32_t id = 0; id < all.size(); ++id) {
    TaskNameStats& t = all[id];
    t.id = id;
    t.name = shm::task_name(segment_, id);
    std::uint64_t stats[shm::kTaskStats] = {};
    for (std::uint32_t p = 0; p < segment_.rows_used(); ++p)
      add_histogram(segment_, segment_.task_histogram(p, id), t.duration, stats);
    t.failed = stats[static_cast<int>(shm::TaskStat::kFailed)];
    t.retried = stats[static_cast<int>(shm::TaskStat::kRetried)];
    if (t.duration.count > 0)
      t.duration.mean_ns = static_cast<double>(stats[static_cast<int>(shm::TaskStat::kDurationSum)]) /
                           static_cast<double>(t.duration.count);
  }
  return all;
}

namespace {

// The result or failure block that the outcome word names; empty when there is none.
std::vector<std::byte> outcome_bytes(Engine& engine, std::uint32_t slot, ControlWord word, TaggedWord outcome) {
  const auto block = static_cast<std::uint32_t>(outcome.value());
  if (block == 0) return {};
  const auto bytes = engine.blocks().bytes(block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kResult));
  const shm::BlockHeader* header = engine.blocks().header(block - 1);
  if (header == nullptr || bytes.empty()) return {};
  const std::size_t size = std::min<std::size_t>(header->bytes, bytes.size());
  return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)};
}

}  // namespace

std::optional<TaskInfo> Query::task(TaskId asked) const {
  const TaskId id = current_id(segment_, asked);
  auto info = task_in_slot(id);
  if (info || id.item() == 0) return info;
  // The item of a run may be a task of its own by now; it keeps its name.
  const TaskId copy{id.epoch, Unique(segment_, engine_.blocks()).holder(moved_key(id.handle), 0)};
  if (copy.handle != 0 && copy.item() == 0) info = task_in_slot(copy);
  if (info) info->id = id;
  return info;
}

std::optional<TaskInfo> Query::task_in_slot(TaskId id) const {
  if (id.epoch != segment_.epoch() || id.slot() >= segment_.slots_used()) return std::nullopt;
  Descriptor& d = segment_.descriptor(id.slot());
  for (int attempt = 0; attempt < 16; ++attempt) {
    const ControlWord word = d.control.load();
    if (word.generation() != id.generation() || word.state() == State::kFree || word.state() == State::kAlloc)
      return std::nullopt;
    // An id names an item exactly when its slot is a run; an item whose bit is set is over and forgotten.
    if (is_run(d) != (id.item() != 0)) return std::nullopt;
    if (id.item() != 0 && (run_pending(d, word) >> (id.item() - 1) & 1) == 0) return std::nullopt;
    TaskInfo info;
    info.id = id;
    info.state = word.state();
    const std::uint32_t queue = d.queue;
    const std::uint32_t task = d.task;
    if (queue < shm::queue_total(segment_)) info.queue = shm::queue_name(segment_, queue);
    if (task < shm::task_total(segment_)) info.task = shm::task_name(segment_, task);
    info.priority = d.priority;
    info.max_retries = d.max_retries;
    info.enqueued_ns = d.enqueued_ns;
    info.payload_bytes = d.payload_bytes;
    info.in_place = (d.flags & shm::kInPlace) != 0;
    info.auto_renew = (d.flags & shm::kNoRenew) == 0;
    if (!is_run(d)) info.tally = tally_of(d, word.grant());
    if (word.state() == State::kDelayed) info.due_ns = engine_.due_ns(id.slot(), word);
    if (word.state() == State::kLeased && word.owner() != 0 && word.owner() <= segment_.geometry().participant_count) {
      info.worker = word.owner();
      const shm::RosterRow& row = segment_.row(word.owner() - 1);
      info.worker_name.assign(row.name, ::strnlen(row.name, sizeof row.name));
      Progress progress;
      info.has_progress = read_progress(engine_, id.slot(), word, id.item(), progress);
      info.progress = progress.fraction;
      info.progress_data = std::move(progress.data);
    }
    std::span<const std::byte> payload;
    if (d.block == 0) {
      payload = {d.inline_payload, std::min<std::size_t>(d.payload_bytes, shm::kInlineBytes)};
    } else {
      const auto bytes =
          engine_.blocks().bytes(d.block - 1, shm::block_tag(id.slot(), word.generation(), shm::BlockKind::kPayload));
      std::uint32_t offset = 0;
      if ((d.flags & shm::kHasExtension) != 0) {
        if (const auto extras = read_extension(bytes, offset)) {
          info.headers = extras->headers;
          info.meta = extras->meta;
          info.has_extras = true;
          info.asked = without_texts(*extras);
        }
      }
      if (id.item() != 0) {
        const std::size_t at = (id.item() - 1) * std::size_t{kRunItemBytes};
        const auto size = static_cast<std::size_t>(d.inline_payload[id.item()]);
        if (size <= kRunItemBytes && at + size <= bytes.size()) payload = bytes.subspan(at, size);
        info.payload_bytes = static_cast<std::uint32_t>(payload.size());
      } else if (offset <= bytes.size() && d.payload_bytes <= bytes.size() - offset)
        payload = bytes.subspan(offset, d.payload_bytes);
    }
    info.payload.assign(payload.begin(), payload.end());
    const TaggedWord outcome(d.outcome.load(std::memory_order_acquire));
    const std::vector<std::byte> bytes = outcome_bytes(engine_, id.slot(), word, outcome);
    info.failure = read_failure_record(bytes);
    if (outcome.grant() == word.grant()) {
      info.outcome = static_cast<OutcomeKind>(outcome.value() >> 32 & 15);
      if (word.state() == State::kDone && info.outcome == OutcomeKind::kSucceeded) info.result = bytes;
    }
    info.state_name = name_of_state(word.state(), info.tally.attempts, info.outcome);
    if (d.control.load() == word) return info;  // otherwise it moved while we looked: look again
  }
  return std::nullopt;
}

ResultState read_result(Engine& engine, TaskId asked, std::vector<std::byte>& bytes, FailureRecord& failure) noexcept {
  shm::Segment& segment = engine.segment();
  const TaskId id = current_id(segment, asked);
  if (id.epoch != segment.epoch() || id.slot() >= segment.geometry().slot_count) return ResultState::kGone;
  Descriptor& d = segment.descriptor(id.slot());
  for (;;) {
    const ControlWord word = d.control.load();
    if (word.generation() != id.generation() || word.state() == State::kFree) return ResultState::kGone;
    if (id.item() != 0) {  // items keep no result
      const bool pending = is_run(d) && (run_pending(d, word) >> (id.item() - 1) & 1) != 0;
      if (d.control.load() != word) continue;
      return pending ? ResultState::kPending : ResultState::kGone;
    }
    if (word.state() != State::kDone && word.state() != State::kDead) return ResultState::kPending;
    const TaggedWord outcome(d.outcome.load(std::memory_order_acquire));
    bytes = outcome_bytes(engine, id.slot(), word, outcome);
    const auto kind = static_cast<OutcomeKind>(outcome.value() >> 32 & 15);
    if (d.control.load() != word) continue;
    if (word.state() == State::kDone && kind == OutcomeKind::kSucceeded) return ResultState::kSucceeded;
    if (const auto record = read_failure_record(bytes)) failure = *record;
    if (word.state() == State::kDead) return ResultState::kDead;
    return kind == OutcomeKind::kCancelled ? ResultState::kCancelled : ResultState::kFailed;
  }
}

}  // namespace stem::engine
