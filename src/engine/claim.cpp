// Working: find a hint, claim the task by its control word, then move past the hint.
#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/engine.hpp"
#include "engine/extension.hpp"
#include "shm/names.hpp"
#include "shm/prefetch.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Counter;
using shm::Descriptor;
using shm::HintCell;
using shm::State;

namespace {

constexpr std::uint32_t kLookAhead = 16;             // descriptors fetched before they are claimed
constexpr std::uint32_t kAgeingEvery = 64;           // claims between two looks at who has waited longest
constexpr std::int64_t kAgeingStepNs = 100'000'000;  // waiting this long is worth one priority

}  // namespace

std::uint32_t Engine::claim(std::uint32_t queue, Lease* into, std::uint32_t most, std::int64_t now_ns) noexcept {
  if (acking_ != nullptr) (void)commit_acks();
  std::uint32_t claimed = 0;
  if (keeps_items_) [[unlikely]]
    claimed = claim_kept(into, most);
  if (inbox_has_hints()) [[unlikely]]
    claimed += claim_inbox(into + claimed, most - claimed);
  const shm::QueueRow& row = segment_.queue(queue);
  std::uint64_t lanes = row.lanes.load(std::memory_order_acquire);
  if (claimed == most || lanes == 0 || row.paused.load(std::memory_order_relaxed) != 0 || !self_.still_ours())
    return claimed;
  const bool lowest_first = row.lowest_first.load(std::memory_order_relaxed) != 0;
  bool full = false;
  coming_count_ = coming_at_ = 0;
  const std::uint32_t elsewhere = claimed;
  if (claimed == 0 && ++claims_ % kAgeingEvery == 0 && !std::has_single_bit(lanes)) {
    const std::uint32_t aged = aged_priority(queue, lanes, lowest_first, now_ns);
    claimed = claim_lane(queue, aged, into, most, full, /*part_of_run=*/true);
  }
  // What came from elsewhere (inbox, kept items) must not keep a run from ever being taken.
  bool part_of_run = claimed == elsewhere;
  while (lanes != 0 && claimed < most && !full) {
    const auto priority =
        static_cast<std::uint32_t>(lowest_first ? std::countr_zero(lanes) : std::bit_width(lanes) - 1);
    if (priority >= shm::kPriorities) break;  // nonsense in the segment
    const std::uint32_t got = claim_lane(queue, priority, into + claimed, most - claimed, full, part_of_run);
    claimed += got;
    part_of_run = part_of_run && got == 0;
    if (got != 0 || full) continue;  // more of this lane first
    lanes_.mark_empty(queue, priority);
    lanes &= ~(std::uint64_t{1} << priority);
  }
  self_.row().inflight.store(claimed, std::memory_order_relaxed);
  return claimed;
}

// `full`: the next is a run that does not fit into what is left. Only the first thing of a claim (`part_of_run`)
// may be a part of a run.
std::uint32_t Engine::claim_lane(std::uint32_t queue, std::uint32_t priority, Lease* into, std::uint32_t most,
                                 bool& full, bool part_of_run) noexcept {
  const shm::Ring* oldest = lanes_.oldest(queue, priority);
  if (oldest == nullptr) return 0;
  // A view of our own: a push from in here (a run going back) may move the lane to a larger ring.
  shm::Ring ring = *oldest;
  const std::uint32_t slots = segment_.geometry().slot_count;
  std::uint32_t claimed = 0;
  std::uint64_t position = ring.head();
  const std::uint64_t start = position;
  bool met_runs = false;
  HintCell cell;
  HintCell ahead;
  // Fetch the descriptors of the next tasks for writing, so that the claims below find their lines here.
  const std::uint64_t look = position + std::min(most + kLookAhead, kLookAhead * 2);
  if (looked_ring_ != ring.header() || looked_ < position || looked_ > look) looked_ = position;
  looked_ring_ = ring.header();
  for (; looked_ < look && ring.peek(looked_, ahead); ++looked_) lanes_.fetch(ahead.slot());
  while (claimed < most && ring.peek(position, cell)) {
    ++position;
    if (cell.slot() >= slots) continue;
    Descriptor& d = segment_.descriptor(cell.slot());
    ControlWord word = d.control.load();
    // What `word` can be: (1) ready in the life the hint names: claim it. (2) anything else: the hint is
    // stale (claimed, promoted twice, cancelled, another life); pass on.
    if (word.state() != State::kReady || (word.generation() & HintCell::kTagMask) != cell.tag()) continue;
    // A run that we could not take whole stays for the next claim.
    if ((claimed != 0 || !part_of_run) && is_run(d) &&
        static_cast<std::uint32_t>(std::popcount(run_pending(d, word))) > most - claimed) {
      --position;
      full = true;
      break;
    }
    // Recorded first: if we die right after the claim, whoever notices finds it here.
    self_.row().held[held_next_ % shm::kHeldSlots].store(cell.slot() + 1, std::memory_order_relaxed);
    const ControlWord mine = word.with(State::kLeased, self_.owner());
    if (!d.control.change(word, mine)) continue;
    ++held_next_;
    into[claimed] = {cell.slot(), mine};
    if (d.queue != queue) [[unlikely]] {  // a hint so old that its tag came round: back to where it belongs
      if (d.queue < shm::queue_total(segment_))
        (void)release(into[claimed], 0);
      else
        quarantine(into[claimed]);  // no queue of ours: nobody could ever run it
      continue;
    }
    if (is_run(d)) {
      met_runs = true;
      note_coming(d);
      claimed += expand_run(into[claimed], into + claimed, most - claimed);
      continue;
    }
    ++claimed;
  }
  ring.advance_head(start, position);
  for (std::uint32_t i = 0; met_runs && i < kComingAhead && ring.peek(position + i, ahead) && ahead.slot() < slots;
       ++i) {
    const Descriptor& d = segment_.descriptor(ahead.slot());  // here by now
    if (is_run(d)) note_coming(d);
  }
  return claimed;
}

// Of all lanes with work, the one whose first task has the best priority once waiting is counted in.
std::uint32_t Engine::aged_priority(std::uint32_t queue, std::uint64_t lanes, bool lowest_first,
                                    std::int64_t now_ns) noexcept {
  std::uint32_t best = static_cast<std::uint32_t>(std::countr_zero(lanes)) % shm::kPriorities;
  std::int64_t best_score = INT64_MIN;
  for (; lanes != 0; lanes &= lanes - 1) {
    const auto priority = static_cast<std::uint32_t>(std::countr_zero(lanes));
    if (priority >= shm::kPriorities) break;
    const shm::Ring* ring = lanes_.oldest(queue, priority);
    HintCell cell;
    if (ring == nullptr || !ring->peek(ring->head(), cell) || cell.slot() >= segment_.geometry().slot_count) continue;
    const std::int64_t waited = now_ns - segment_.descriptor(cell.slot()).enqueued_ns;
    const std::int64_t rank = lowest_first ? shm::kPriorities - 1 - priority : priority;
    const std::int64_t score = rank + waited / kAgeingStepNs;
    if (score > best_score) {
      best_score = score;
      best = priority;
    }
  }
  return best;
}

bool Engine::view_single(const Lease& lease, TaskView& into) noexcept {
  into.run = 0;
  const Descriptor& d = segment_.descriptor(lease.slot);
  const std::uint32_t payload_bytes = d.payload_bytes;
  const std::uint32_t block = d.block;
  const std::uint8_t flags = d.flags;
  into.id = TaskId::make(segment_.epoch(), lease.slot, lease.word.generation());
  into.queue = d.queue;
  into.task = d.task;
  into.priority = d.priority;
  into.max_retries = d.max_retries;
  into.flags = flags;
  into.enqueued_ns = d.enqueued_ns;
  const std::uint32_t grant = lease.word.grant();
  into.tally = tally_of(d, grant);
  into.has_extras = (flags & shm::kHasExtension) != 0;
  bool sane = true;
  if (block == 0) {
    sane = payload_bytes <= shm::kInlineBytes && !into.has_extras;
    if (sane) {
      std::memcpy(into.inline_copy, d.inline_payload, shm::kInlineBytes);
      into.payload = {into.inline_copy, payload_bytes};
    }
  } else {
    const auto bytes =
        blocks_.bytes(block - 1, shm::block_tag(lease.slot, lease.word.generation(), shm::BlockKind::kPayload));
    std::uint32_t offset = 0;
    if (into.has_extras) {
      const auto extras = read_extension(bytes, offset);
      sane = extras.has_value();
      if (sane) into.extras = *extras;
    }
    sane = sane && payload_bytes <= bytes.size() && offset <= bytes.size() - payload_bytes;
    if (sane) into.payload = bytes.subspan(offset, payload_bytes);
  }
  sane = sane && into.queue < shm::queue_total(segment_) && into.task < shm::task_total(segment_) &&
         into.priority < shm::kPriorities;
  // What was copied is believed only if the word still stands: we may have been stopped meanwhile, and
  // the slot may have lived on.
  if (!holds(lease)) return false;
  if (!sane) {
    quarantine(lease);
    return false;
  }
  return true;
}

void Engine::quarantine(const Lease& lease) noexcept {
  ControlWord word = lease.word;
  (void)segment_.descriptor(lease.slot).control.change(word, word.with(State::kQuarantine, 0));
}

Begin Engine::begin_single(const Lease& lease, TaskView& task, std::int64_t now_ns) noexcept {
  if (events_.stepped(now_ns)) [[unlikely]]
    tell_received(task, now_ns);
  if (task.has_extras && task.extras.expires_ns != 0 && task.extras.expires_ns <= now_ns) {
    const Failure expired{"expired", "not started before its expiry"};
    return cancel(lease, task, Counter::kExpired, expired, now_ns) == Settled::kDone ? Begin::kExpired : Begin::kLost;
  }
  const shm::QueueRow& queue = segment_.queue(task.queue);
  const bool may_be_limited = task.has_extras || queue.rate.load(std::memory_order_relaxed) != 0 ||
                              queue.concurrency.load(std::memory_order_relaxed) != 0;
  if (may_be_limited) [[unlikely]] {
    bool lost = false;
    if (awaits_key(lease, task, now_ns, lost) || limited(lease, task, now_ns, lost))
      return lost ? Begin::kLost : Begin::kLimited;
  }
  if ((task.flags & shm::kNoRenew) != 0) {
    const std::int64_t visible = task.has_extras ? task.extras.visibility_ns : kDefaultVisibilityNs;
    if (set_lease_end(lease, later_ns(now_ns, visible)) != Settled::kDone) return Begin::kLost;
  }
  note_start(task, now_ns);
  if (task.tally.attempts + task.tally.releases == 0) self_.record_wait(task.queue, now_ns - task.enqueued_ns);
  return Begin::kStart;
}

}  // namespace stem::engine
