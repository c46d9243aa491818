#include "shm/journal_line.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

#include "shm/doorbell.hpp"

namespace stem::shm {
namespace {

constexpr std::uint32_t kAwake = static_cast<std::uint32_t>(JournalRest::kAwake);

// Rings the writer when it rests as deeply as `from` or deeper; one of all who see it does.
void ring_writer(Segment& segment, JournalRest from) noexcept {
  Header& h = segment.header();
  // order(journal.rest): seq_cst; pairs with rest_journal(): either the writer sees the hint before it sleeps, or we
  // see that it sleeps.
  if (h.journal_rest.load(std::memory_order_seq_cst) < static_cast<std::uint32_t>(from)) return;
  if (h.journal_rest.exchange(kAwake, std::memory_order_seq_cst) == kAwake) return;
  const auto writer = static_cast<std::uint32_t>(h.journal_writer.load(std::memory_order_acquire) & 0xfff);
  if (writer != 0 && writer <= segment.geometry().participant_count) ring(segment, writer - 1);
}

}  // namespace

bool commit_journal_hints(const Segment& segment) noexcept {
  return segment.commit(segment.layout().journal, ring_bytes(kJournalRingLog2));
}

bool note_for_journal(Segment& segment, Ring& hints, std::uint64_t generation, std::uint32_t slot) noexcept {
  const bool there = hints.push(generation, slot);
  if (!there) segment.header().journal_overflowed.store(1, std::memory_order_seq_cst);
  ring_writer(segment, JournalRest::kUntilWork);
  return there;
}

bool await_journal(Segment& segment, std::uint64_t position, std::int64_t timeout_ns) noexcept {
  Header& h = segment.header();
  const auto on_disk = [&h, position] {
    // order(journal.durable): seq_cst; pairs with publish_journal(): nothing is told before it is so, and who has set
    // the flag too late to be woken, or was woken, sees it. (The kernel's wake is no order of the language.)
    return static_cast<std::int64_t>(h.journal_durable.load(std::memory_order_seq_cst) - position) >= 0;
  };
  const std::uint32_t seen = h.journal_commits.load(std::memory_order_seq_cst);
  h.journal_awaited.store(1, std::memory_order_seq_cst);
  if (on_disk()) return true;
  ring_writer(segment, JournalRest::kUntilCommit);
  const timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&h.journal_commits), FUTEX_WAIT, seen, &timeout, nullptr, 0);
  return on_disk();
}

void publish_journal(Segment& segment, std::uint64_t position) noexcept {
  Header& h = segment.header();
  // order(journal.durable): seq_cst; see await_journal().
  h.journal_durable.store(position, std::memory_order_seq_cst);
  h.journal_commits.fetch_add(1, std::memory_order_seq_cst);
  // order(journal.awaited): seq_cst; a waiter sets the flag before it looks at the position, we look at the flag after
  // we have moved it. (One that sets it in between looks at a counter that has moved, and does not sleep.)
  if (h.journal_awaited.exchange(0, std::memory_order_seq_cst) == 0) return;
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&h.journal_commits), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void rest_journal(Participant& self, const Ring& hints, JournalRest rest, std::int64_t timeout_ns) noexcept {
  Header& h = self.segment().header();
  const std::uint32_t bell = prepare_sleep(self);
  h.journal_rest.store(static_cast<std::uint32_t>(rest), std::memory_order_seq_cst);
  const bool awaited = h.journal_awaited.load(std::memory_order_seq_cst) != 0;
  const bool busy = awaited || (rest == JournalRest::kUntilWork && !hints.empty());
  if (!busy) (void)park(self, bell, timeout_ns);
  h.journal_rest.store(kAwake, std::memory_order_seq_cst);
}

}  // namespace stem::shm
