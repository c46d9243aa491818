#include "shm/participant.hpp"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/histogram.hpp"
#include "shm/death.hpp"
#include "shm/shuffled.hpp"

namespace stem::shm {
namespace {

constexpr std::uint64_t kExtentSlots = 8192;  // 1 MiB of descriptors

std::uint64_t own_start_time() {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream rest(text.substr(name_end + 1));
  std::string field;
  for (int i = 3; i <= 22 && rest >> field; ++i) {
  }
  return std::strtoull(field.c_str(), nullptr, 10);
}

// How many rows of the roster one of this role may look at.
std::uint32_t rows_for(Role role, std::uint32_t participant_count) {
  const std::uint32_t kept = std::min(kKeepersRows, participant_count / 16);
  if (role == Role::kSupervisor) return participant_count;
  return participant_count - (role == Role::kTool ? kept / 2 : kept);
}

}  // namespace

Participant::Participant(std::shared_ptr<Segment> segment)
    : segment_(std::move(segment)),
      pid_(::getpid()),
      random_(reinterpret_cast<std::uintptr_t>(this) ^ static_cast<std::uint64_t>(::syscall(SYS_gettid)) << 32 ^
              segment_->header().slab_used.load(std::memory_order_relaxed)),
      free_ring_(segment_->at<RingHeader>(segment_->layout().free_ring), segment_->layout().free_ring_log2),
      queues_seen_(std::make_unique<std::uint64_t[]>((segment_->geometry().queue_count + 63) / 64)),
      tasks_seen_(std::make_unique<std::uint64_t[]>((segment_->geometry().task_count + 63) / 64)),
      scratch_counters_{},
      scratch_histogram_(std::make_unique<std::atomic<std::uint64_t>[]>(kHistogramRowBytes / 8)) {}

Result<std::unique_ptr<Participant>> Participant::join(std::shared_ptr<Segment> segment,
                                                       const ParticipantOptions& options) {
  std::unique_ptr<Participant> p(new Participant(std::move(segment)));
  Segment& s = *p->segment_;
  const std::uint32_t rows = rows_for(options.role, s.geometry().participant_count);
  for (std::uint32_t i = 0; i < rows; ++i) {
    if (i >= s.header().roster_used.load(std::memory_order_acquire)) {
      if (!s.commit(s.layout().roster + i * sizeof(RosterRow), sizeof(RosterRow)) ||
          !s.commit(s.layout().subscriptions + i * s.layout().subscription_words * 8,
                    s.layout().subscription_words * 8) ||
          !s.commit(s.layout().inboxes + i * ring_bytes(kInboxLog2), ring_bytes(kInboxLog2)) ||
          !s.commit(s.layout().returns + i * sizeof(ReturnRing), sizeof(ReturnRing)))
        return Error{Errc::kNoMemory, "no room in /dev/shm for another participant"};
      std::uint32_t used = i;
      s.header().roster_used.compare_exchange_strong(used, i + 1, std::memory_order_acq_rel);
    }
    RosterRow& row = s.row(i);
    std::uint64_t status = row.status.load(std::memory_order_acquire);
    if (row_state(status) != RowState::kFree) continue;
    const int fd = lock_row_byte(s, i);
    if (fd < 0) {
      // Out of descriptors is not out of rows.
      if (errno == EMFILE || errno == ENFILE) return system_error("open the lock of a roster row");
      continue;
    }
    status = row.status.load(std::memory_order_acquire);
    if (row_state(status) != RowState::kFree) {  // taken and left between the two looks
      release_row_byte(fd);
      continue;
    }
    const std::uint64_t incarnation = row_incarnation(status) + 1;
    row.status.store(row_status(incarnation, RowState::kJoining), std::memory_order_release);
    p->row_ = &row;
    p->index_ = i;
    p->incarnation_ = incarnation;
    p->lock_fd_ = fd;
    p->returns_ = s.at<ReturnRing>(s.layout().returns) + i;
    p->returns_tail_ = p->returns_->tail.load(std::memory_order_relaxed);
    p->returns_seen_head_ = p->returns_->head.load(std::memory_order_relaxed);
    p->last_giver_ = i;
    row.pid = static_cast<std::uint32_t>(::getpid());
    row.tid = static_cast<std::uint32_t>(::syscall(SYS_gettid));
    row.start_time = own_start_time();
    row.boot_id_hash = boot_id_hash();
    row.pid_namespace = namespace_inode("pid");
    row.time_namespace = namespace_inode("time");
    row.role.store(static_cast<std::uint32_t>(options.role), std::memory_order_relaxed);
    row.cpu.store(-1, std::memory_order_relaxed);
    row.op.store(0, std::memory_order_relaxed);
    row.acked.store(0, std::memory_order_relaxed);
    row.current.store(0, std::memory_order_relaxed);
    row.inflight.store(0, std::memory_order_relaxed);
    row.stop_mode.store(0, std::memory_order_relaxed);
    row.rss_bytes.store(0, std::memory_order_relaxed);
    row.serves_all.store(0, std::memory_order_relaxed);
    row.waiting_for.store(0, std::memory_order_relaxed);
    row.supervisor.store(0, std::memory_order_relaxed);
    row.control_request.store(0, std::memory_order_relaxed);
    row.control_reply.store(0, std::memory_order_relaxed);
    for (auto& revoke : row.revoke) revoke.store(0, std::memory_order_relaxed);
    row.crash.task.store(0, std::memory_order_relaxed);
    for (auto& held : row.held) held.store(0, std::memory_order_relaxed);
    std::memset(row.name, 0, sizeof row.name);
    std::memcpy(row.name, options.name.data(), std::min(options.name.size(), sizeof row.name - 1));
    for (std::uint64_t w = 0; w < s.layout().subscription_words; ++w)
      s.subscription(i)[w].store(0, std::memory_order_relaxed);
    if (!p->hold_alive_mutex()) return system_error("robust mutex of the roster row");
    // order(roster.live): release; the row is complete before anyone meets a word with this owner.
    row.status.store(row_status(incarnation, RowState::kLive), std::memory_order_release);
    return p;
  }
  return Error{Errc::kFull, "all " + std::to_string(rows) +
                                " participants of this segment are taken; close some clients, start a worker, which "
                                "clears away those that were killed, or make the segment with more"};
}

std::unique_ptr<Participant> Participant::watch(std::shared_ptr<Segment> segment) {
  std::unique_ptr<Participant> p(new Participant(std::move(segment)));
  p->watcher_row_ = std::make_unique<RosterRow>();
  p->row_ = p->watcher_row_.get();
  p->index_ = p->segment_->geometry().participant_count;
  return p;
}

bool Participant::hold_alive_mutex() noexcept {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  std::memset(&row_->alive, 0, sizeof row_->alive);
  const bool ok = pthread_mutex_init(&row_->alive, &attributes) == 0 && pthread_mutex_lock(&row_->alive) == 0;
  pthread_mutexattr_destroy(&attributes);
  return ok;
}

bool Participant::in_forked_child() const noexcept { return pid_ != ::getpid(); }

Participant::~Participant() {
  if (row_ == nullptr || watches() || in_forked_child()) return;
  drop_reserve();
  Header& h = segment_->header();
  const std::uint64_t bit = std::uint64_t{1} << (index_ % 64);
  h.sleepers[index_ / 64].fetch_and(~bit, std::memory_order_seq_cst);
  h.result_waiters[index_ / 64].fetch_and(~bit, std::memory_order_seq_cst);
  row_->op.store(0, std::memory_order_relaxed);
  row_->acked.store(0, std::memory_order_relaxed);
  // The kernel must not mark a row that somebody else may hold by then.
  if (row_->tid == static_cast<std::uint32_t>(::syscall(SYS_gettid))) pthread_mutex_unlock(&row_->alive);
  std::uint64_t mine = row_status(incarnation_, RowState::kLive);
  row_->status.compare_exchange_strong(mine, row_status(incarnation_, RowState::kFree), std::memory_order_acq_rel);
  release_row_byte(lock_fd_);
}

void Participant::add_reserve(std::uint32_t slot, ControlWord word) noexcept {
  reserve_[reserve_end_++ % kReserveSlots] = {slot, word};
}

void Participant::return_slot(std::uint32_t slot, ControlWord word) noexcept {
  if (reserve_end_ - reserve_begin_ == kReserveSlots) {
    ControlWord expected = word;
    if (segment_->descriptor(slot).control.change(expected, word.with(State::kFree, 0))) offer_free(slot);
    return;
  }
  reserve_[--reserve_begin_ % kReserveSlots] = {slot, word};
}

bool Participant::refill_reserve() noexcept {
  reserve_begin_ = reserve_end_ = kReserveSlots;  // room to return slots in front
  const std::uint32_t rows = segment_->rows_used();
  for (std::uint32_t i = 0; i < rows; ++i) {
    const std::uint32_t giver = (last_giver_ + i) % rows;
    if (!refill_from_returns(giver)) continue;
    last_giver_ = giver;
    return true;
  }
  return refill_from_free_ring() || refill_from_unused() || refill_by_scan();
}

bool Participant::take_free(std::uint32_t slot) noexcept {
  ControlCell& control = segment_->descriptor(slot).control;
  ControlWord word = control.load();
  // A slot in its last possible life is never taken: only nonsense in the segment gets there.
  if (word.state() != State::kFree || word.generation() == ControlWord::kLastGeneration) return false;
  const ControlWord mine = word.next_life(owner());
  if (!control.change(word, mine)) return false;
#ifndef __SANITIZE_THREAD__
  // order(control.recheck): release fence between the change and what the new life writes: who has copied any of that
  // finds at his second look that the word has moved on. (The change alone is no wall for stores after it.)
  std::atomic_thread_fence(std::memory_order_release);
#endif
  add_reserve(slot, mine);
  return true;
}

// Both lines: the payload's was last read by who ran the task.
void Participant::fetch_free(std::uint32_t slot) const noexcept {
  if (slot >= segment_->geometry().slot_count) return;
  Descriptor& d = segment_->descriptor(slot);
  prefetch_write(&d);
  prefetch_write(d.inline_payload);
}

bool Participant::refill_from_returns(std::uint32_t participant) noexcept {
  ReturnRing& ring = segment_->at<ReturnRing>(segment_->layout().returns)[participant];
  for (;;) {
    const std::uint64_t head = ring.head.load(std::memory_order_acquire);
    const std::uint64_t tail = ring.tail.load(std::memory_order_acquire);
    if (tail <= head || tail - head > kReturnSlots) return false;
    const auto n = static_cast<std::uint32_t>(std::min<std::uint64_t>(tail - head, kRefill));
    std::uint32_t slots[kRefill];
    for (std::uint32_t i = 0; i < n; ++i) {
      slots[i] = ring.slots[(head + i) % kReturnSlots].load(std::memory_order_relaxed);
      fetch_free(slots[i]);
    }
    for (std::uint32_t i = 0; i < n; ++i)
      if (slots[i] < segment_->geometry().slot_count) (void)take_free(slots[i]);
    // A failure means that another took the same ones; the cells are void either way.
    std::uint64_t expected = head;
    ring.head.compare_exchange_strong(expected, head + n, std::memory_order_acq_rel);
    if (reserve_begin_ != reserve_end_) return true;
  }
}

bool Participant::refill_from_free_ring() noexcept {
  const std::uint32_t slot_count = segment_->geometry().slot_count;
  for (;;) {
    const std::uint64_t head = free_ring_.head();
    HintCell cells[kRefill];
    std::uint32_t n = 0;
    for (; n < kRefill && free_ring_.peek(head + n, cells[n]); ++n) fetch_free(cells[n].slot());
    if (n == 0) return false;
    for (std::uint32_t i = 0; i < n; ++i)
      if (cells[i].slot() < slot_count) (void)take_free(cells[i].slot());
    free_ring_.advance_head(head, head + n);
    if (reserve_begin_ != reserve_end_) return true;  // otherwise all were stale: look further
  }
}

void Participant::offer_free_to_all(std::uint32_t slot) noexcept {
  if (!free_ring_committed_)
    free_ring_committed_ =
        segment_->commit(segment_->layout().free_ring, ring_bytes(segment_->layout().free_ring_log2));
  // No memory, or full of stale hints: the slot stays free without a hint, and a scan finds it.
  if (!free_ring_committed_ || !free_ring_.push(0, slot)) return;
}

bool Participant::commit_slots(std::uint64_t needed) noexcept {
  Header& h = segment_->header();
  const std::uint64_t slot_count = segment_->geometry().slot_count;
  std::uint64_t committed = h.slab_committed.load(std::memory_order_acquire);
  while (committed < needed) {
    const std::uint64_t next = std::min(committed + kExtentSlots, slot_count);
    if (!segment_->commit(segment_->layout().slab + committed * sizeof(Descriptor),
                          (next - committed) * sizeof(Descriptor)))
      return false;
    if (h.slab_committed.compare_exchange_strong(committed, next, std::memory_order_acq_rel)) committed = next;
  }
  return true;
}

bool Participant::refill_from_unused() noexcept {
  Header& h = segment_->header();
  const std::uint64_t slot_count = segment_->geometry().slot_count;
  std::uint64_t used = h.slab_used.load(std::memory_order_acquire);
  std::uint64_t next = 0;
  do {
    if (used >= slot_count) return false;
    next = std::min(used + kRefill, slot_count);
    if (!commit_slots(next)) return false;
  } while (!h.slab_used.compare_exchange_weak(used, next, std::memory_order_acq_rel));
  // Killed here: slots that are free without a hint. A scan finds them.
  shuffled(next - used, [&](std::uint64_t i) { (void)take_free(static_cast<std::uint32_t>(used + i)); });
  return reserve_begin_ != reserve_end_;
}

// Every free ring is empty and no slot is unused: look for free slots that have no hint, a bounded
// stretch per call, so that a full segment costs the producer little.
bool Participant::refill_by_scan() noexcept {
  const auto used = segment_->slots_used();
  const std::uint32_t stretch = std::min(used, 4096u);
  for (std::uint32_t i = 0; i < stretch && reserve_end_ - reserve_begin_ < kRefill; ++i) {
    if (++scan_hand_ >= used) scan_hand_ = 0;
    (void)take_free(scan_hand_);
  }
  return reserve_begin_ != reserve_end_;
}

void Participant::drop_reserve() noexcept {
  while (reserve_begin_ != reserve_end_) {
    const Reserved& r = reserve_[reserve_begin_++ % kReserveSlots];
    ControlWord word = r.word;
    if (segment_->descriptor(r.slot).control.change(word, r.word.with(State::kFree, 0))) offer_free(r.slot);
  }
}

void Participant::switch_queue(std::uint32_t queue) noexcept {
  if (queue >= segment_->geometry().queue_count) {  // out of a spoilt descriptor: counted nowhere
    last_counters_ = &scratch_counters_;
    last_wait_ = scratch_histogram_.get();
    last_queue_ = queue;
    return;
  }
  std::uint64_t& seen = queues_seen_[queue / 64];
  const std::uint64_t bit = std::uint64_t{1} << (queue % 64);
  CounterRow& row = segment_->counters(index_, queue);
  std::atomic<std::uint64_t>* wait = segment_->wait_histogram(index_, queue);
  if ((seen & bit) == 0) {
    if (segment_->commit(segment_->offset_of(&row), sizeof row) &&
        segment_->commit(segment_->offset_of(wait), kHistogramRowBytes))
      seen |= bit;
  }
  const bool there = (seen & bit) != 0;
  last_counters_ = there ? &row : &scratch_counters_;
  last_wait_ = there ? wait : scratch_histogram_.get();
  last_queue_ = queue;
}

void Participant::count_renewal_beside(std::uint32_t queue) noexcept {
  if (queue >= segment_->geometry().queue_count) return;
  CounterRow& row = segment_->counters(index_, queue);
  if (!segment_->commit(segment_->offset_of(&row), sizeof row)) return;
  row.value[static_cast<int>(Counter::kLeaseRenewed)].fetch_add(1, std::memory_order_relaxed);
}

void Participant::record_wait(std::uint32_t queue, std::int64_t wait_ns, std::uint32_t times) noexcept {
  if (queue != last_queue_) [[unlikely]]
    switch_queue(queue);
  auto& count = last_wait_[base::histogram_bucket(wait_ns)];
  count.store(count.load(std::memory_order_relaxed) + times, std::memory_order_relaxed);
}

void Participant::switch_task(std::uint32_t task) noexcept {
  if (task >= segment_->geometry().task_count) {
    last_duration_ = scratch_histogram_.get();
    last_task_ = task;
    return;
  }
  std::uint64_t& seen = tasks_seen_[task / 64];
  const std::uint64_t bit = std::uint64_t{1} << (task % 64);
  std::atomic<std::uint64_t>* histogram = segment_->task_histogram(index_, task);
  if ((seen & bit) == 0 && segment_->commit(segment_->offset_of(histogram), kHistogramRowBytes)) seen |= bit;
  last_duration_ = (seen & bit) != 0 ? histogram : scratch_histogram_.get();
  last_task_ = task;
}

void Participant::count_task(std::uint32_t task, TaskStat stat, std::uint64_t by) noexcept {
  if (task != last_task_) [[unlikely]]
    switch_task(task);
  auto& value = last_duration_[base::kHistogramBuckets + static_cast<std::uint32_t>(stat)];
  value.store(value.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

void Participant::record_duration(std::uint32_t task, std::int64_t duration_ns, std::uint32_t times) noexcept {
  count_task(task, TaskStat::kDurationSum, duration_ns < 0 ? 0 : static_cast<std::uint64_t>(duration_ns) * times);
  auto& count = last_duration_[base::histogram_bucket(duration_ns)];
  count.store(count.load(std::memory_order_relaxed) + times, std::memory_order_relaxed);
}

}  // namespace stem::shm
