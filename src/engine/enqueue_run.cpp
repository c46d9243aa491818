// Producing: small plain tasks of a batch that are alike go together, as one run (run.hpp).
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "engine/engine.hpp"
#include "shm/prefetch.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Counter;
using shm::Descriptor;
using shm::State;

namespace {

// All that tells kinds of plain tasks apart, as it stands in a TaskSpec: its first sixteen bytes, none of them padding.
using Kind = std::array<std::uint64_t, 2>;
static_assert(offsetof(TaskSpec, in_place) + sizeof(TaskSpec::in_place) == sizeof(Kind) &&
              offsetof(TaskSpec, due_ns) == sizeof(Kind));

Kind kind_of(const TaskSpec& spec) {
  Kind kind;
  std::memcpy(&kind, &spec, sizeof kind);
  return kind;
}

// So the block of any run does for any other: it stays with its slot, and is asked for as a whole.
static_assert(kRunLeast * kRunItemBytes + sizeof(shm::BlockHeader) > shm::kBlockStride[0]);

bool fits_a_run(const TaskSpec& spec, std::int64_t now_ns) {
  return spec.extras == nullptr && spec.due_ns <= now_ns && spec.payload.size() <= kRunItemBytes;
}

}  // namespace

// How many of the first specs make one run; 0 when too few do, or when the queue has limits that look at
// single tasks.
std::uint32_t Engine::run_length(const TaskSpec* specs, std::size_t count, std::int64_t now_ns) const noexcept {
  const shm::QueueRow& queue = segment_.queue(specs[0].queue);
  if (queue.max_length.load(std::memory_order_relaxed) != 0 || queue.rate.load(std::memory_order_relaxed) != 0 ||
      queue.concurrency.load(std::memory_order_relaxed) != 0)
    return 0;
  if (specs[0].keep_result || !specs[0].auto_renew || specs[0].attempt != 0) return 0;
  const auto most = static_cast<std::uint32_t>(std::min<std::size_t>(count, kRunItems));
  const Kind kind = kind_of(specs[0]);
  std::uint32_t n = 0;
  while (n < most && fits_a_run(specs[n], now_ns) && kind_of(specs[n]) == kind) ++n;
  return n >= kRunLeast ? n : 0;
}

// As many of the specs from `done` on as make runs of one lane, some runs at most: their hints go together.
EnqueueStatus Engine::enqueue_runs(const TaskSpec* specs, std::size_t count, TaskId* ids, std::size_t& done,
                                   std::int64_t now_ns) noexcept {
  constexpr std::uint32_t kTogether = 4;  // a worker that waits for the first of them waits for a microsecond
  shm::HintCell hints[kTogether];
  const std::uint32_t queue = specs[done].queue;
  const std::uint8_t priority = specs[done].priority;
  EnqueueStatus status = EnqueueStatus::kOk;
  std::uint32_t n = 0;
  for (; n < kTogether && done < count && specs[done].queue == queue && specs[done].priority == priority; ++n) {
    const std::uint32_t length = run_length(specs + done, count - done, now_ns);
    if (length == 0) break;
    // Each a nanosecond after the one before: what a journal brings back has the order of the batch.
    status = enqueue_run(specs + done, length, ids == nullptr ? nullptr : ids + done, hints[n],
                         later_ns(now_ns, static_cast<std::int64_t>(done)));
    if (status != EnqueueStatus::kOk) break;
    done += length;
  }
  if (n == 0) return status;
  // A queue that drops its oldest finds these only once their hints are there: the caller tries again.
  if (status == EnqueueStatus::kFull) status = EnqueueStatus::kOk;
  lanes_.push_many(queue, std::min<std::uint32_t>(priority, shm::kPriorities - 1), hints, n);
  if (shm::anyone_sleeps(segment_)) shm::wake_workers(segment_, queue, n);
  return status;
}

// The block that lies with the slot that comes next was last read by who ran its items: its lines come over while this
// one is filled.
void Engine::fetch_next_block() const noexcept {
  const Descriptor* next = self_.next_slot();
  if (next == nullptr || !is_run(*next) || next->block == 0) return;
  const auto* block = reinterpret_cast<const std::byte*>(blocks_.header(next->block - 1));
  if (block == nullptr) return;
  for (std::uint32_t line = 0; line <= kRunItems; ++line)
    shm::prefetch_write(block + std::size_t{line} * shm::kCacheLineBytes);
}

// All of it but its hint.
EnqueueStatus Engine::enqueue_run(const TaskSpec* specs, std::uint32_t count, TaskId* ids, shm::HintCell& hint,
                                  std::int64_t now_ns) noexcept {
  if (const EnqueueStatus admitted = admit(specs[0], now_ns); admitted != EnqueueStatus::kOk) return admitted;
  Filled filled;
  if (!self_.take_slot(filled.slot, filled.word)) return EnqueueStatus::kFull;
  fetch_next_block();
  const std::uint64_t generation = filled.word.generation();
  const std::uint32_t bytes = count * kRunItemBytes;
  Descriptor& d = segment_.descriptor(filled.slot);
  const std::uint64_t tag = shm::block_tag(filled.slot, generation, shm::BlockKind::kPayload);
  // The block of the slot's last run, if it still lies there: see kept_with().
  shm::BlockId block = is_run(d) && d.block != 0 ? d.block - 1 : shm::kNoBlock;
  if (block == shm::kNoBlock ||
      !blocks_.retag(block, shm::block_tag(filled.slot, generation - 1, shm::BlockKind::kPayload), tag))
    block = blocks_.take(bytes, filled.slot, generation, shm::BlockKind::kPayload);
  const std::span<std::byte> items = block == shm::kNoBlock ? std::span<std::byte>{} : blocks_.bytes(block, tag);
  if (items.size() < bytes) {
    abandon(filled, block);
    return EnqueueStatus::kNoMemory;
  }
  // Its bytes go where they belong one by one: gathered beside it and copied, they would wait for every store above to
  // have come out of the core.
  std::byte* const lengths = d.inline_payload + offsetof(RunHead, bytes);
  std::memset(d.inline_payload, 0, sizeof(RunHead));
  d.inline_payload[0] = static_cast<std::byte>(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::span<const std::byte> payload = specs[i].payload;
    lengths[i] = static_cast<std::byte>(payload.size());
    std::byte* at = items.data() + std::size_t{i} * kRunItemBytes;
    if (payload.size() == kRunItemBytes) {
      std::memcpy(at, payload.data(), kRunItemBytes);  // constant size: wide stores
    } else if (!payload.empty()) {
      std::memcpy(at, payload.data(), payload.size());
    }
  }
  write_descriptor(d, specs[0], bytes, now_ns, block);
  d.flags = static_cast<std::uint8_t>(d.flags | shm::kIsRun);
  d.due.store(MaskWord(generation, 0, 0, 0).bits(), std::memory_order_relaxed);

  const std::uint32_t queue = specs[0].queue;
  const auto tell_items = [&](shm::EventKind kind) {
    for (std::uint32_t i = 0; i < count; ++i)
      tell_enqueued(kind, specs[i], TaskId::make(1, filled.slot, generation, i + 1).handle, now_ns);
  };
  if (events_.stepped(now_ns)) [[unlikely]]
    tell_items(shm::EventKind::kPublishing);
  self_.begin_op({shm::OpKind::kPublish, filled.slot, filled.word.generation(), 0}, queue, Counter::kEnqueued, count);
  ControlWord word = filled.word;
  if (!d.control.change(word, filled.word.with(State::kReady, 0))) return EnqueueStatus::kDetached;
  self_.count(queue, Counter::kEnqueued, count);
  note_change(queue, filled.slot);
  if (events_.followed(now_ns)) [[unlikely]]
    tell_items(shm::EventKind::kEnqueued);
  hint = shm::HintCell(0, generation, filled.slot);
  if (ids != nullptr)
    for (std::uint32_t i = 0; i < count; ++i) ids[i] = TaskId::make(segment_.epoch(), filled.slot, generation, i + 1);
  return EnqueueStatus::kOk;
}

}  // namespace stem::engine
