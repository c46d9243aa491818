#include "journal/image.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/clock.hpp"
#include "engine/extension.hpp"
#include "engine/failure_record.hpp"
#include "shm/names.hpp"

namespace stem::journal {

using engine::TaskExtras;
using shm::ControlWord;
using shm::Descriptor;
using shm::State;

namespace {

struct Texts {
  std::string_view* of[kExtrasTexts];
};

Texts texts(TaskExtras& e) {
  return {{&e.headers, &e.meta, &e.idempotency_key, &e.link, &e.link_error, &e.retry_for, &e.no_retry_for, &e.origin}};
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

struct StateNow {
  TaskState state;
  engine::FailureRecord failure;  // of a dead letter
};

// What may change, as it is now; believed only if the word still stands afterwards.
StateNow state_now(engine::Engine& engine, std::uint32_t slot, ControlWord word, State as, ClockShift clock) {
  StateNow now;
  const Descriptor& d = engine.segment().descriptor(slot);
  const shm::Tally tally = engine::tally_of(d, word.grant());
  now.state.attempts = static_cast<std::uint16_t>(tally.attempts);
  now.state.deaths = static_cast<std::uint16_t>(tally.deaths);
  now.state.releases = tally.releases;
  if (as == State::kDelayed) now.state.due_ns = clock.to_real(engine.due_ns(slot, word));
  if (as != State::kDead && as != State::kDone) return now;
  if (as == State::kDone)
    now.state.due_ns = clock.to_real(engine.due_ns(slot, word));
  else
    now.state.reason = static_cast<std::uint8_t>(engine::DeadReason::kPermanentFailure);
  now.state.dead_ns = clock.to_real(d.enqueued_ns);
  const auto block = static_cast<std::uint32_t>(shm::TaggedWord(d.outcome.load(std::memory_order_acquire)).value());
  const auto record = block == 0 ? std::nullopt
                                 : engine::read_failure_record(engine.blocks().bytes(
                                       block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kResult)));
  if (!record) return now;
  now.failure = *record;
  if (as == State::kDead && record->reason != 0) now.state.reason = record->reason;
  now.state.dead_ns = clock.to_real(record->at_ns);
  now.state.failure_attempts = record->attempts;
  now.state.kind_bytes = record->kind_bytes;
  now.state.message_bytes = record->message_bytes;
  return now;
}

TaskHead head_now(const Descriptor& d, ClockShift clock) {
  TaskHead head;
  head.enqueued_ns = clock.to_real(d.enqueued_ns);
  head.queue = d.queue;
  head.task = d.task;
  head.max_retries = d.max_retries;
  head.priority = d.priority;
  const std::uint8_t flags = d.flags;
  if ((flags & shm::kKeepResult) != 0) head.flags |= kKeepResult;
  if ((flags & shm::kNoRenew) != 0) head.flags |= kNoRenew;
  if ((flags & shm::kInPlace) != 0) head.flags |= kInPlace;
  return head;
}

// By which ids it is known beside its own. The item of a run that became a task of its own is known by the item's.
engine::FormerIds former_of(const engine::Engine& engine, std::uint32_t slot, ControlWord word,
                            std::uint64_t run_item) {
  const shm::Segment& segment = engine.segment();
  const engine::FormerIds former = engine::former_ids(segment, slot, word.generation());
  if (former.first || run_item == 0) return former;
  return {{segment.epoch(), run_item}, {segment.epoch(), run_item}};
}

void put_former(Batch& batch, const engine::FormerIds& former) {
  if (former.first)
    batch.put(FormerHead{former.first.epoch, former.last.epoch, former.first.handle, former.last.handle});
}

void put_failure(Batch& batch, const StateNow& now) {
  if (now.state.kind_bytes + now.state.message_bytes == 0) return;
  batch.put_bytes(bytes_of(now.failure.kind()));
  batch.put_bytes(bytes_of(now.failure.message()));
}

TaskKey key_of(const engine::Engine& engine, std::uint32_t slot, ControlWord word) {
  return {engine.segment().epoch(), slot, word.generation()};
}

void put_extras(Batch& batch, TaskExtras e, ClockShift clock) {
  ExtrasHead x;
  x.expires_ns = clock.to_real(e.expires_ns);
  x.visibility_ns = e.visibility_ns;
  x.soft_limit_ns = e.soft_limit_ns;
  x.hard_limit_ns = e.hard_limit_ns;
  x.result_ttl_ns = e.result_ttl_ns;
  x.retry_base_ns = e.retry.base_ns;
  x.retry_max_ns = e.retry.max_ns;
  x.retry_kind = static_cast<std::uint16_t>(e.retry.kind);
  x.limits_fail_closed = e.limits_fail_closed ? 1 : 0;
  x.unique_key = e.unique_key;
  x.unique_everywhere = e.unique_everywhere ? 1 : 0;
  x.unique_until_ns = clock.to_real(e.unique_for_ns);  // absolute, as read from an extension
  x.rate_key = e.rate_key;
  x.rate_count = e.rate.count;
  x.rate_period_s = e.rate.period_s;
  x.group_rate_key = e.group_rate_key;
  x.group_rate_count = e.group_rate.count;
  x.group_rate_period_s = e.group_rate.period_s;
  x.concurrency_key = e.concurrency_key;
  x.concurrency_limit = e.concurrency_limit;
  x.affinity_key = e.affinity_key;
  const Texts all = texts(e);
  for (int i = 0; i < kExtrasTexts; ++i) x.text_bytes[i] = static_cast<std::uint32_t>(all.of[i]->size());
  batch.put(x);
  for (const std::string_view* text : all.of) batch.put_bytes(bytes_of(*text));
}

// The rest of a record, taken from its front.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> rest) : rest_(rest) {}
  template <class T>
  bool take(T& into) {
    if (rest_.size() < sizeof into) return false;
    std::memcpy(&into, rest_.data(), sizeof into);
    rest_ = rest_.subspan(sizeof into);
    return true;
  }
  bool take(std::uint64_t bytes, std::span<const std::byte>& into) {
    if (rest_.size() < bytes) return false;
    into = rest_.first(bytes);
    rest_ = rest_.subspan(bytes);
    return true;
  }
  bool take(std::uint64_t bytes, std::string_view& into) {
    std::span<const std::byte> found;
    if (!take(bytes, found)) return false;
    into = {reinterpret_cast<const char*>(found.data()), found.size()};
    return true;
  }
  bool empty() const { return rest_.empty(); }

 private:
  std::span<const std::byte> rest_;
};

bool take_extras(Cursor& from, TaskImage& image) {
  ExtrasHead x;
  if (!from.take(x) || x.retry_kind > static_cast<std::uint32_t>(engine::RetryKind::kUser)) return false;
  TaskExtras& e = image.extras;
  e.expires_ns = x.expires_ns;
  e.visibility_ns = x.visibility_ns;
  e.soft_limit_ns = x.soft_limit_ns;
  e.hard_limit_ns = x.hard_limit_ns;
  e.result_ttl_ns = x.result_ttl_ns;
  e.retry = {static_cast<engine::RetryKind>(x.retry_kind), x.retry_base_ns, x.retry_max_ns};
  e.limits_fail_closed = x.limits_fail_closed != 0;
  e.unique_key = x.unique_key;
  e.unique_everywhere = x.unique_everywhere != 0;
  image.unique_until_ns = x.unique_until_ns;
  e.rate_key = x.rate_key;
  e.rate = {x.rate_count, x.rate_period_s};
  e.group_rate_key = x.group_rate_key;
  e.group_rate = {x.group_rate_count, x.group_rate_period_s};
  e.concurrency_key = x.concurrency_key;
  e.concurrency_limit = x.concurrency_limit;
  e.affinity_key = x.affinity_key;
  const Texts all = texts(e);
  for (int i = 0; i < kExtrasTexts; ++i)
    if (!from.take(x.text_bytes[i], *all.of[i])) return false;
  image.link = e.link;
  image.link_error = e.link_error;
  return true;
}

bool take_former(Cursor& from, TaskImage& image) {
  FormerHead f;
  if (!from.take(f) || f.first_epoch == 0 || f.last_epoch == 0) return false;
  image.former = {{f.first_epoch, f.first}, {f.last_epoch, f.last}};
  return true;
}

bool take_failure(Cursor& from, TaskImage& image) {
  return from.take(image.state.kind_bytes, image.failure_kind) &&
         from.take(image.state.message_bytes, image.failure_message) && from.empty();
}

}  // namespace

void ClockShift::follow() noexcept {
  constexpr std::int64_t kClockSetNs = 1'000'000;
  constexpr int kReadings = 8;  // the one that was least interrupted
  std::int64_t best_ns = 0, least_ns = INT64_MAX;
  for (int i = 0; i < kReadings; ++i) {
    const std::int64_t before = base::monotonic_ns();
    const std::int64_t shift = base::realtime_ns() - before;
    if (std::abs(shift - ns) <= kClockSetNs) return;
    const std::int64_t took = base::monotonic_ns() - before;
    if (took >= least_ns) continue;
    least_ns = took;
    best_ns = shift;
  }
  ns = best_ns;
}

bool append_task(Batch& batch, engine::Engine& engine, std::uint32_t slot, ControlWord word, State as, ClockShift clock,
                 std::optional<engine::TickNote>* tick) {
  const Descriptor& d = engine.segment().descriptor(slot);
  TaskHead head = head_now(d, clock);
  head.payload_bytes = d.payload_bytes;
  if ((d.flags & shm::kHasExtension) != 0) head.flags |= kHasExtras;
  const std::uint32_t block = d.block;
  std::span<const std::byte> payload{d.inline_payload, shm::kInlineBytes};
  std::uint32_t offset = 0;
  std::optional<TaskExtras> extras;
  if (block != 0) {
    payload = engine.blocks().bytes(block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload));
    if ((head.flags & kHasExtras) != 0) extras = engine::read_extension(payload, offset);
  }
  if (((head.flags & kHasExtras) != 0 && !extras) || offset > payload.size() ||
      head.payload_bytes > payload.size() - offset || head.payload_bytes > shm::kMaxPayloadBytes)
    return false;
  const engine::FormerIds former = former_of(engine, slot, word, extras ? extras->run_item : 0);
  // The engine's own key of an item that moved out: in the next segment it would be another item's.
  if (extras && extras->run_item != 0) extras->unique_key = 0;
  if (former.first) head.flags |= kHasFormer;
  if (tick != nullptr && extras && extras->tick.size() == sizeof(engine::TickNote))
    std::memcpy(&tick->emplace(), extras->tick.data(), sizeof(engine::TickNote));
  const StateNow now = state_now(engine, slot, word, as, clock);
  batch.begin(static_cast<std::uint32_t>(RecordType::kTask));
  batch.put(key_of(engine, slot, word));
  batch.put(now.state);
  batch.put(head);
  put_former(batch, former);
  if (extras) put_extras(batch, *extras, clock);
  batch.put_bytes(payload.subspan(offset, head.payload_bytes));
  put_failure(batch, now);
  // What was copied is believed only if the word still stands: its blocks may have been another's meanwhile.
  // (One that is settling gives them back before its word changes.)
  const bool gone =
      word.state() == State::kSettling && block != 0 &&
      engine.blocks().bytes(block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload)).empty();
  if (gone || !d.control.stands(word)) {
    batch.take_back();
    return false;
  }
  batch.end();
  return true;
}

bool append_result(Batch& batch, engine::Engine& engine, std::uint32_t slot, ControlWord word, ClockShift clock) {
  const Descriptor& d = engine.segment().descriptor(slot);
  const shm::TaggedWord outcome(d.outcome.load(std::memory_order_acquire));
  const auto kind = static_cast<std::uint8_t>(outcome.value() >> 32 & 15);
  const auto block = static_cast<std::uint32_t>(outcome.value());
  StateNow now = state_now(engine, slot, word, State::kDone, clock);
  now.state.outcome = kind;
  TaskHead head = head_now(d, clock);
  std::span<const std::byte> result;
  if (block != 0 && kind == static_cast<std::uint8_t>(engine::OutcomeKind::kSucceeded)) {
    result = engine.blocks().bytes(block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kResult));
    const shm::BlockHeader* header = engine.blocks().header(block - 1);
    const std::uint32_t bytes = header == nullptr ? ~0u : header->bytes;
    if (bytes > result.size() || bytes > shm::kMaxPayloadBytes) return false;
    result = result.first(bytes);
  }
  if (kind == 0 || kind > static_cast<std::uint8_t>(engine::OutcomeKind::kCancelled)) return false;
  head.payload_bytes = static_cast<std::uint32_t>(result.size());
  const engine::FormerIds former = former_of(engine, slot, word, 0);
  if (former.first) head.flags |= kHasFormer;
  batch.begin(static_cast<std::uint32_t>(RecordType::kResult));
  batch.put(key_of(engine, slot, word));
  batch.put(now.state);
  batch.put(head);
  put_former(batch, former);
  batch.put_bytes(result);
  put_failure(batch, now);
  if (!d.control.stands(word)) {  // as above
    batch.take_back();
    return false;
  }
  batch.end();
  return true;
}

bool append_state(Batch& batch, engine::Engine& engine, std::uint32_t slot, ControlWord word, ClockShift clock) {
  const StateNow now = state_now(engine, slot, word, word.state(), clock);
  if (!engine.segment().descriptor(slot).control.stands(word)) return false;
  batch.begin(static_cast<std::uint32_t>(RecordType::kState));
  batch.put(key_of(engine, slot, word));
  batch.put(now.state);
  put_failure(batch, now);
  batch.end();
  return true;
}

bool append_run(Batch& batch, engine::Engine& engine, std::uint32_t slot, ControlWord word, ClockShift clock) {
  const Descriptor& d = engine.segment().descriptor(slot);
  const TaskHead all = head_now(d, clock);
  engine::RunHead items;
  std::memcpy(&items, d.inline_payload, sizeof items);
  const std::uint32_t block = d.block;
  if (items.count == 0 || items.count > engine::kRunItems || block == 0) return false;
  const auto payloads =
      engine.blocks().bytes(block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload));
  if (payloads.size() < std::size_t{items.count} * engine::kRunItemBytes) return false;
  RunRecord head;
  head.enqueued_ns = all.enqueued_ns;
  head.queue = all.queue;
  head.task = all.task;
  head.max_retries = all.max_retries;
  head.priority = all.priority;
  head.flags = all.flags & kInPlace;
  head.count = items.count;
  batch.begin(static_cast<std::uint32_t>(RecordType::kRun));
  batch.put(key_of(engine, slot, word));
  batch.put(head);
  batch.put_bytes(std::as_bytes(std::span(items.bytes, items.count)));
  bool sane = true;
  for (std::uint32_t i = 0; i < items.count && sane; ++i) {
    sane = items.bytes[i] <= engine::kRunItemBytes;
    if (sane) batch.put_bytes(payloads.subspan(std::size_t{i} * engine::kRunItemBytes, items.bytes[i]));
  }
  if (!sane || !d.control.stands(word)) {  // as above
    batch.take_back();
    return false;
  }
  batch.end();
  return true;
}

void append_items(Batch& batch, TaskKey key, std::uint32_t over) {
  batch.begin(static_cast<std::uint32_t>(RecordType::kItems));
  batch.put(key);
  batch.put(ItemsRecord{over});
  batch.end();
}

void append_end(Batch& batch, TaskKey key) {
  batch.begin(static_cast<std::uint32_t>(RecordType::kEnd));
  batch.put(key);
  batch.end();
}

void append_names(Batch& batch, const shm::Segment& segment, NameKind kind, std::uint32_t first, std::uint32_t last) {
  if (first >= last) return;
  batch.begin(static_cast<std::uint32_t>(RecordType::kNames));
  batch.put(
      NamesHead{segment.epoch(), static_cast<std::uint16_t>(kind), static_cast<std::uint16_t>(last - first), first});
  for (std::uint32_t i = first; i < last; ++i) {
    const std::string_view name = kind == NameKind::kQueue ? shm::queue_name(segment, i) : shm::task_name(segment, i);
    batch.put(static_cast<std::uint16_t>(name.size()));
    batch.put_bytes(bytes_of(name));
  }
  batch.end();
}

void append_settings(Batch& batch, std::string_view queue, const engine::QueueSettings& s) {
  SettingsHead head;
  head.dead_retention_ns = s.dead_retention_ns;
  head.max_length = s.max_length;
  head.concurrency = s.concurrency;
  head.rate_count = s.rate.count;
  head.rate_period_s = s.rate.period_s;
  head.dead_max = s.dead_max;
  head.name_bytes = static_cast<std::uint16_t>(queue.size());
  head.durability = static_cast<std::uint8_t>(s.durability);
  head.overflow = static_cast<std::uint8_t>(s.overflow);
  head.paused = s.paused ? 1 : 0;
  head.lowest_first = s.lowest_first ? 1 : 0;
  batch.begin(static_cast<std::uint32_t>(RecordType::kSettings));
  batch.put(head);
  batch.put_bytes(bytes_of(queue));
  batch.end();
}

void append_schedule(Batch& batch, std::string_view id, std::string_view definition) {
  batch.begin(static_cast<std::uint32_t>(RecordType::kSchedule));
  batch.put(ScheduleHead{static_cast<std::uint32_t>(id.size()), static_cast<std::uint32_t>(definition.size())});
  batch.put_bytes(bytes_of(id));
  batch.put_bytes(bytes_of(definition));
  batch.end();
}

void append_tick(Batch& batch, std::string_view id, std::int64_t planned_ns) {
  batch.begin(static_cast<std::uint32_t>(RecordType::kTick));
  batch.put(TickHead{planned_ns, static_cast<std::uint32_t>(id.size()), 0});
  batch.put_bytes(bytes_of(id));
  batch.end();
}

std::optional<TaskImage> read_task(std::span<const std::byte> task, std::span<const std::byte> state) {
  TaskImage image;
  Cursor from(task);
  TaskKey key;
  if (!from.take(key) || !from.take(image.state) || !from.take(image.head)) return std::nullopt;
  if ((image.head.flags & kHasFormer) != 0 && !take_former(from, image)) return std::nullopt;
  if (image.state.outcome > static_cast<std::uint8_t>(engine::OutcomeKind::kCancelled)) return std::nullopt;
  if ((image.head.flags & kHasExtras) != 0 && !take_extras(from, image)) return std::nullopt;
  if (!from.take(image.head.payload_bytes, image.payload) || !take_failure(from, image)) return std::nullopt;
  if (image.head.priority >= shm::kPriorities || image.head.payload_bytes > shm::kMaxPayloadBytes) return std::nullopt;
  if (state.empty()) return image;
  Cursor later(state);
  if (!later.take(key) || !later.take(image.state) || !take_failure(later, image)) return std::nullopt;
  return image;
}

std::int64_t enqueued_in(std::span<const std::byte> image, bool run) {
  Cursor from(image);
  TaskKey key;
  TaskState state;
  std::int64_t enqueued_ns = 0;  // the first word of either head
  static_assert(offsetof(TaskHead, enqueued_ns) == 0 && offsetof(RunRecord, enqueued_ns) == 0);
  if (!from.take(key) || (!run && !from.take(state)) || !from.take(enqueued_ns)) return 0;
  return enqueued_ns;
}

std::optional<RunImage> read_run(std::span<const std::byte> run) {
  RunImage image;
  Cursor from(run);
  TaskKey key;
  std::span<const std::byte> bytes;
  if (!from.take(key) || !from.take(image.head)) return std::nullopt;
  const std::uint32_t count = image.head.count;
  if (count == 0 || count > engine::kRunItems || !from.take(count, bytes)) return std::nullopt;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto item_bytes = std::to_integer<std::uint32_t>(bytes[i]);
    if (item_bytes > engine::kRunItemBytes || !from.take(item_bytes, image.payloads[i])) return std::nullopt;
  }
  if (!from.empty() || image.head.priority >= shm::kPriorities || (image.head.flags & ~kInPlace) != 0)
    return std::nullopt;
  return image;
}

TaskImage RunImage::item(std::uint32_t item) const {
  TaskImage one;
  one.head.enqueued_ns = head.enqueued_ns;
  one.head.queue = head.queue;
  one.head.task = head.task;
  one.head.max_retries = head.max_retries;
  one.head.priority = head.priority;
  one.head.flags = head.flags;
  one.payload = payloads[item - 1];
  one.head.payload_bytes = static_cast<std::uint32_t>(one.payload.size());
  return one;
}

std::optional<std::uint32_t> read_items(std::span<const std::byte> items) {
  Cursor from(items);
  TaskKey key;
  ItemsRecord record;
  if (!from.take(key) || !from.take(record) || !from.empty()) return std::nullopt;
  if ((record.over & ~engine::full_mask(engine::kRunItems)) != 0) return std::nullopt;
  return record.over;
}

bool is_state(std::span<const std::byte> state) {
  TaskImage image;
  Cursor from(state);
  TaskKey key;
  return from.take(key) && from.take(image.state) && image.state.outcome == 0 && take_failure(from, image);
}

}  // namespace stem::journal
