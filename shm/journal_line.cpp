#include "shm/journal_line.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <climits>
#include <ctime>

#include "shm/doorbell.hpp"

namespace stem::shm {
namespace {

constexpr std::uint32_t kAwake = static_cast<std::uint32_t>(JournalRest::kAwake);
constexpr std::uint32_t kFutexBits = 32;

// Those who wait for one position sleep under one bit of the futex: a commit wakes them, and not those who would only
// look and sleep again. With many producers these are half of all.
std::uint32_t futex_bit(std::uint64_t position) noexcept { return 1u << (position % kFutexBits); }

// Of the positions (after, until].
std::uint32_t futex_bits(std::uint64_t after, std::uint64_t until) noexcept {
  if (until - after >= kFutexBits) return ~0u;  // or it went back: a writer before this one said more than there was
  std::uint32_t bits = 0;
  while (after != until) bits |= futex_bit(++after);
  return bits;
}

// Rings the writer when it rests as deeply as `from` or deeper; one of all who see it does.
void ring_writer(Segment& segment, JournalRest from) noexcept {
  Header& h = segment.header();
  // order(journal.rest): seq_cst; pairs with rest_journal(): either the writer sees the mark before it sleeps, or we
  // see that it sleeps.
  if (h.journal_rest.load(std::memory_order_seq_cst) < static_cast<std::uint32_t>(from)) return;
  if (h.journal_rest.exchange(kAwake, std::memory_order_seq_cst) == kAwake) return;
  const auto writer = static_cast<std::uint32_t>(h.journal_writer.load(std::memory_order_acquire) & 0xfff);
  if (writer != 0 && writer <= segment.geometry().participant_count) ring(segment, writer - 1);
}

}  // namespace

bool JournalMarks::any() const noexcept {
  for (std::uint32_t word = 0; word * 64 < lines_; ++word)
    if (summary_[word].load(std::memory_order_seq_cst) != 0) return true;
  return false;
}

std::uint64_t JournalMarks::count() const noexcept {
  std::uint64_t count = 0;
  for (std::uint32_t word = 0; word < lines_ * kLineWords; ++word)
    count += static_cast<std::uint64_t>(std::popcount(marks_[word].load(std::memory_order_relaxed)));
  return count;
}

bool JournalMarks::take(std::uint32_t& line, Line& marks) noexcept {
  for (; line < lines_; line = (line / 64 + 1) * 64) {
    const std::uint64_t left = summary_[line / 64].load(std::memory_order_seq_cst) >> (line % 64);
    if (left == 0) continue;
    line += static_cast<std::uint32_t>(std::countr_zero(left));
    if (line >= lines_) return false;
    // order(journal.mark): seq_cst; the line's bit first: who marks behind us sets it again.
    summary_[line / 64].fetch_and(~(std::uint64_t{1} << (line % 64)), std::memory_order_seq_cst);
    for (std::uint32_t word = 0; word < kLineWords; ++word) {
      std::atomic<std::uint64_t>& from = marks_[line * kLineWords + word];
      marks[word] = from.load(std::memory_order_seq_cst) == 0 ? 0 : from.exchange(0, std::memory_order_seq_cst);
    }
    return true;
  }
  return false;
}

bool commit_journal_marks(const Segment& segment) noexcept {
  return segment.commit(segment.layout().journal, mark_bytes(segment.geometry().slot_count));
}

void note_for_journal(Segment& segment, JournalMarks& marks, std::uint32_t slot) noexcept {
  marks.set(slot);
  ring_writer(segment, JournalRest::kUntilWork);
}

void hurry_journal(Segment& segment, std::uint64_t position) noexcept {
  std::atomic<std::uint64_t>& awaited = segment.header().journal_awaited;
  // order(journal.awaited): seq_cst; see publish_journal().
  std::uint64_t latest = awaited.load(std::memory_order_seq_cst);
  while ((latest == 0 || static_cast<std::int64_t>(position - latest) > 0) &&
         !awaited.compare_exchange_weak(latest, position, std::memory_order_seq_cst)) {
  }
}

bool await_journal(Segment& segment, std::uint64_t position, std::int64_t until_ns) noexcept {
  Header& h = segment.header();
  const auto on_disk = [&h, position] {
    // order(journal.durable): seq_cst; pairs with publish_journal(): nothing is told before it is so, and who has raised
    // journal_awaited too late to be woken, or was woken, sees it. (The kernel's wake is no order of the language.)
    return static_cast<std::int64_t>(h.journal_durable.load(std::memory_order_seq_cst) - position) >= 0;
  };
  const std::uint32_t seen = h.journal_commits.load(std::memory_order_seq_cst);
  hurry_journal(segment, position);
  if (on_disk()) return true;
  ring_writer(segment, JournalRest::kUntilCommit);
  const timespec until{until_ns / 1'000'000'000, until_ns % 1'000'000'000};
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&h.journal_commits), FUTEX_WAIT_BITSET, seen, &until, nullptr,
            futex_bit(position));
  return on_disk();
}

void publish_journal(Segment& segment, std::uint64_t position) noexcept {
  Header& h = segment.header();
  const std::atomic<std::uint64_t>& ours = h.journal_durable;
  const std::uint64_t before = ours.load(std::memory_order_relaxed);
  // order(journal.durable): seq_cst; see await_journal().
  h.journal_durable.store(position, std::memory_order_seq_cst);
  h.journal_commits.fetch_add(1, std::memory_order_seq_cst);
  // order(journal.awaited): seq_cst; a waiter raises it before it looks at the position, we look at it after we have
  // moved that. (One that raises it in between looks at a counter that has moved, and does not sleep.)
  std::uint64_t awaited = h.journal_awaited.load(std::memory_order_seq_cst);
  if (awaited == 0) return;
  // Nobody waits for more than the next look: a number beyond that is none, and must not keep the writer running.
  const std::uint64_t next_look = h.journal_looks.load(std::memory_order_relaxed) + 1;
  const bool is_later = static_cast<std::int64_t>(awaited - position) > 0;
  if (!is_later || static_cast<std::int64_t>(awaited - next_look) > 0)
    (void)h.journal_awaited.compare_exchange_strong(awaited, 0, std::memory_order_seq_cst);
  if (const std::uint32_t bits = futex_bits(before, position); bits != 0)
    ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&h.journal_commits), FUTEX_WAKE_BITSET, INT_MAX, nullptr,
              nullptr, bits);
}

void rest_journal(Participant& self, const JournalMarks& marks, JournalRest rest, std::int64_t timeout_ns) noexcept {
  Header& h = self.segment().header();
  const std::uint32_t bell = prepare_sleep(self);
  h.journal_rest.store(static_cast<std::uint32_t>(rest), std::memory_order_seq_cst);
  const bool awaited = h.journal_awaited.load(std::memory_order_seq_cst) != 0;
  const bool busy = awaited || (rest == JournalRest::kUntilWork && marks.any());
  if (!busy) (void)park(self, bell, timeout_ns);
  h.journal_rest.store(kAwake, std::memory_order_seq_cst);
}

}  // namespace stem::shm
