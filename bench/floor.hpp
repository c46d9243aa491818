// What this machine can do at best, right now: the floor that every figure of Stem is a multiple of.
// The functions are for any subcommand to call; each takes the two CPUs and starts its own pair of
// processes, except the probe, which runs inside a pair that a subject already has.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "bench/measure.hpp"
#include "bench/processes.hpp"

namespace stem::bench {

// ---- Cache-line hand-off ------------------------------------------------------------------------

// Two mailboxes of one cache line each. Lives in shared memory; all zero is a valid start.
struct HandoffArea {
  struct alignas(64) Mailbox {
    std::atomic<std::uint64_t> sequence{0};  // writer: the mailbox's sender alone
    std::uint64_t payload[7]{};
  };
  Mailbox there;  // leader to follower
  Mailbox back;   // follower to leader
};

enum class HandoffKind {
  kMessage,           // 64 bytes, every byte written and read: the figure to quote
  kMessageWithPause,  // the same with `pause` in the waiting loops
  kFlag,              // 8 bytes only
};

// Both sides of a ping-pong; the two processes call them with the same kind and number of rounds, as
// often as they like. The leader gets the ticks of each round trip; one way is half of it.
void handoff_lead(HandoffArea& area, std::span<std::uint64_t> round_trip_ticks,
                  HandoffKind kind = HandoffKind::kMessage);
void handoff_follow(HandoffArea& area, std::uint64_t rounds, HandoffKind kind = HandoffKind::kMessage);

// The probe: 1,000 rounds, 0.1 to 0.5 ms. Run it in the subject's own two processes right before and
// right after the measurement. The leader gets the one-way median.
double probe_lead(HandoffArea& area);
void probe_follow(HandoffArea& area);

// The probe in a pair of processes of its own, where the subject's processes cannot run it.
double handoff_one_way_ns(CpuPair cpus);

// Percentiles of one way over `rounds` round trips.
Percentiles handoff_percentiles(CpuPair cpus, std::uint64_t rounds, HandoffKind kind = HandoffKind::kMessage);

// How far the second CPU's counter is ahead of the first's, and the bound on the error of that: one-way
// stamps taken on two CPUs are off by as much.
struct TscOffset {
  double offset_ns = 0;
  double error_ns = 0;
};
TscOffset tsc_offset(CpuPair cpus);

// ---- Bare ring ----------------------------------------------------------------------------------

// One producer, one consumer, 64-byte messages, every byte written and read; no lease, no
// acknowledgement, nothing survives a crash. Indices are cached and published once per `batch`.
struct RingShape {
  std::uint64_t slots = 8192;         // a power of two
  std::uint64_t batch = 64;           // divides `slots`
  std::uint64_t messages = 4u << 20;  // cut down to whole batches
};

// Messages per second, with the hand-off before and after in the same processes. Throws Failure when a
// message came wrong.
Measured spsc_ring_rate(CpuPair cpus, const RingShape& shape = {});

// ---- Blocking -----------------------------------------------------------------------------------

struct FutexWake {
  Percentiles one_way;  // from just before the waker's call to the sleeper running
  Percentiles call;     // what the waker pays
};

// The sleeper (second CPU) has been parked for `idle_ns` when the waker, busy on the first, wakes it.
FutexWake futex_wake_ns(CpuPair cpus, double idle_ns, std::uint64_t wakes);

// ---- Clocks -------------------------------------------------------------------------------------

struct ClockCost {
  double tsc_ns = 0;
  double tscp_ns = 0;  // 0 where there is no such instruction
  double monotonic_ns = 0;
  double monotonic_coarse_ns = 0;
};
ClockCost clock_cost_ns(CpuPair cpus);

}  // namespace stem::bench
