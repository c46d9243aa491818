#include "shm/doorbell.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <ctime>

namespace stem::shm {
namespace {

std::uint64_t bit_of(std::uint32_t participant) { return std::uint64_t{1} << (participant % 64); }

}  // namespace

bool serves(const Segment& segment, std::uint32_t participant, std::uint32_t queue) noexcept {
  if (segment.row(participant).serves_all.load(std::memory_order_relaxed) != 0) return true;
  const std::uint64_t word = segment.subscription(participant)[queue / 64].load(std::memory_order_relaxed);
  return (word >> (queue % 64) & 1) != 0;
}

bool wake_worker(Segment& segment, std::uint32_t participant) noexcept {
  const std::uint64_t bit = bit_of(participant);
  auto& word = segment.header().sleepers[participant / 64];
  if ((word.load(std::memory_order_seq_cst) & bit) == 0) return false;
  // Only who clears the bit rings, so each sleeper is woken once.
  if ((word.fetch_and(~bit, std::memory_order_seq_cst) & bit) == 0) return false;
  ring(segment, participant);
  return true;
}

std::uint32_t prepare_sleep(Participant& self) noexcept { return self.row().doorbell.load(std::memory_order_acquire); }

void set_sleep_bit(Participant& self) noexcept {
  // order(sleep.announce): seq_cst; pairs with the seq_cst look in wake_workers(); either the sleeper sees
  // the work that was pushed before that look, or the producer sees this bit.
  self.segment().header().sleepers[self.index() / 64].fetch_or(bit_of(self.index()), std::memory_order_seq_cst);
}

void clear_sleep_bit(Participant& self) noexcept {
  self.segment().header().sleepers[self.index() / 64].fetch_and(~bit_of(self.index()), std::memory_order_seq_cst);
}

void set_waiter_bit(Participant& self, std::uint64_t awaited) noexcept {
  self.row().waiting_for.store(awaited, std::memory_order_release);
  self.segment().header().result_waiters[self.index() / 64].fetch_or(bit_of(self.index()), std::memory_order_seq_cst);
}

void clear_waiter_bit(Participant& self) noexcept {
  self.segment().header().result_waiters[self.index() / 64].fetch_and(~bit_of(self.index()), std::memory_order_seq_cst);
}

bool park(Participant& self, std::uint32_t seen, std::int64_t timeout_ns) noexcept {
  timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  const long rc = ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&self.row().doorbell), FUTEX_WAIT, seen,
                            &timeout, nullptr, 0);
  return rc == 0 || errno != ETIMEDOUT;
}

void ring(Segment& segment, std::uint32_t participant) noexcept {
  auto& doorbell = segment.row(participant).doorbell;
  doorbell.fetch_add(1, std::memory_order_release);
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&doorbell), FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

std::uint32_t wake_workers(Segment& segment, std::uint32_t queue, std::uint32_t count) noexcept {
  Header& h = segment.header();
  const std::uint32_t words = (segment.geometry().participant_count + 63) / 64;
  std::uint32_t rung = 0;
  for (std::uint32_t w = 0; w < words && rung < count; ++w) {
    // order(sleep.announce): seq_cst; see set_sleep_bit().
    std::uint64_t asleep = h.sleepers[w].load(std::memory_order_seq_cst);
    while (asleep != 0 && rung < count) {
      const auto lowest = static_cast<std::uint32_t>(std::countr_zero(asleep));
      asleep &= asleep - 1;
      const std::uint32_t participant = w * 64 + lowest;
      if (participant >= segment.geometry().participant_count || !serves(segment, participant, queue)) continue;
      if (wake_worker(segment, participant)) ++rung;
    }
  }
  return rung;
}

void wake_result_waiters(Segment& segment, std::uint64_t awaited) noexcept {
  Header& h = segment.header();
  const std::uint32_t words = (segment.geometry().participant_count + 63) / 64;
  for (std::uint32_t w = 0; w < words; ++w) {
    std::uint64_t waiting = h.result_waiters[w].load(std::memory_order_seq_cst);
    for (; waiting != 0; waiting &= waiting - 1) {
      const std::uint32_t participant = w * 64 + static_cast<std::uint32_t>(std::countr_zero(waiting));
      if (participant >= segment.geometry().participant_count) break;
      if (segment.row(participant).waiting_for.load(std::memory_order_acquire) == awaited) ring(segment, participant);
    }
  }
}

}  // namespace stem::shm
