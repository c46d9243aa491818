// The cache-line hand-off between two processes, the probe built on it, and the counters' offset.
#include <array>

#include "bench/floor.hpp"

namespace stem::bench {

namespace {

constexpr std::uint64_t kProbeRounds = 1000;

template <HandoffKind kKind>
void send(HandoffArea::Mailbox& box, std::uint64_t sequence) noexcept {
  if constexpr (kKind != HandoffKind::kFlag) {
    for (std::uint64_t i = 0; i < 7; ++i) box.payload[i] = sequence + i;
  }
  // order(bench.handoff): release; pairs with the acquire in receive(); the payload before its number
  box.sequence.store(sequence, std::memory_order_release);
}

// Returns a value made of every word, so that no read can be left out.
template <HandoffKind kKind>
std::uint64_t receive(const HandoffArea::Mailbox& box, std::uint64_t sequence) noexcept {
  // order(bench.handoff): acquire; pairs with the release in send()
  while (box.sequence.load(std::memory_order_acquire) != sequence) {
    if constexpr (kKind == HandoffKind::kMessageWithPause) cpu_relax();
  }
  std::uint64_t sum = sequence;
  if constexpr (kKind != HandoffKind::kFlag) {
    for (const std::uint64_t word : box.payload) sum += word;
  }
  return sum;
}

void keep(std::uint64_t value) noexcept { asm volatile("" : : "r"(value)); }

// Each side counts from the mailbox that it alone writes: after a complete series both numbers agree,
// and a follower that comes late cannot miss the leader's first message.
template <HandoffKind kKind>
void lead(HandoffArea& area, std::span<std::uint64_t> round_trip_ticks) {
  // order(bench.handoff): relaxed; this side is the only writer
  std::uint64_t sequence = area.there.sequence.load(std::memory_order_relaxed);
  std::uint64_t last = ticks_now();
  for (std::uint64_t& ticks : round_trip_ticks) {
    ++sequence;
    send<kKind>(area.there, sequence);
    keep(receive<kKind>(area.back, sequence));
    const std::uint64_t now = ticks_now();
    ticks = now - last;
    last = now;
  }
}

template <HandoffKind kKind>
void follow(HandoffArea& area, std::uint64_t rounds) {
  // order(bench.handoff): relaxed; this side is the only writer
  std::uint64_t sequence = area.back.sequence.load(std::memory_order_relaxed);
  for (std::uint64_t i = 0; i < rounds; ++i) {
    ++sequence;
    keep(receive<kKind>(area.there, sequence));
    send<kKind>(area.back, sequence);
  }
}

}  // namespace

void handoff_lead(HandoffArea& area, std::span<std::uint64_t> round_trip_ticks, HandoffKind kind) {
  switch (kind) {
    case HandoffKind::kMessage: return lead<HandoffKind::kMessage>(area, round_trip_ticks);
    case HandoffKind::kMessageWithPause: return lead<HandoffKind::kMessageWithPause>(area, round_trip_ticks);
    case HandoffKind::kFlag: return lead<HandoffKind::kFlag>(area, round_trip_ticks);
  }
}

void handoff_follow(HandoffArea& area, std::uint64_t rounds, HandoffKind kind) {
  switch (kind) {
    case HandoffKind::kMessage: return follow<HandoffKind::kMessage>(area, rounds);
    case HandoffKind::kMessageWithPause: return follow<HandoffKind::kMessageWithPause>(area, rounds);
    case HandoffKind::kFlag: return follow<HandoffKind::kFlag>(area, rounds);
  }
}

double probe_lead(HandoffArea& area) {
  std::array<std::uint64_t, kProbeRounds> ticks{};
  handoff_lead(area, ticks);
  return percentiles_of_ticks(ticks).p50_ns / 2;
}

void probe_follow(HandoffArea& area) { handoff_follow(area, kProbeRounds); }

double handoff_one_way_ns(CpuPair cpus) {
  struct Stage {
    HandoffArea area;
    double one_way_ns = 0;
  };
  Shared<Stage> stage;
  run_pair(
      cpus, [&] { stage->one_way_ns = probe_lead(stage->area); }, [&] { probe_follow(stage->area); });
  return stage->one_way_ns;
}

Percentiles handoff_percentiles(CpuPair cpus, std::uint64_t rounds, HandoffKind kind) {
  constexpr std::uint64_t kWarmUpRounds = 2000;
  Shared<HandoffArea> area;
  SharedMemory memory(rounds * sizeof(std::uint64_t));
  const std::span<std::uint64_t> ticks(static_cast<std::uint64_t*>(memory.data()), rounds);
  run_pair(
      cpus,
      [&] {
        std::vector<std::uint64_t> warm_up(kWarmUpRounds);
        handoff_lead(*area, warm_up, kind);
        handoff_lead(*area, ticks, kind);
      },
      [&] { handoff_follow(*area, kWarmUpRounds + rounds, kind); });
  Percentiles result = percentiles_of_ticks(ticks);
  for (double* ns : {&result.p50_ns, &result.p90_ns, &result.p99_ns, &result.p999_ns, &result.max_ns}) {
    *ns /= 2;
  }
  return result;
}

TscOffset tsc_offset(CpuPair cpus) {
  constexpr std::uint64_t kRounds = 20'000;
  struct Stage {
    alignas(64) std::atomic<std::uint64_t> asked{0};
    alignas(64) std::atomic<std::uint64_t> answered{0};
    std::uint64_t answer_ticks = 0;
    TscOffset result;
  };
  Shared<Stage> stage;
  // Cristian's method: the answer's stamp lies between the two of the asker; the shortest round trip
  // bounds it best.
  const auto ask = [&] {
    std::uint64_t shortest = ~std::uint64_t{0};
    for (std::uint64_t i = 1; i <= kRounds; ++i) {
      const std::uint64_t before = ticks_now();
      // order(bench.tsc): release and acquire on both words; the stamp before its number
      stage->asked.store(i, std::memory_order_release);
      while (stage->answered.load(std::memory_order_acquire) != i) {
      }
      const std::uint64_t after = ticks_now();
      if (after - before >= shortest) continue;
      shortest = after - before;
      const auto middle = static_cast<double>(before) + static_cast<double>(after - before) / 2;
      stage->result.offset_ns = (static_cast<double>(stage->answer_ticks) - middle) * ns_per_tick();
      stage->result.error_ns = static_cast<double>(shortest) / 2 * ns_per_tick();
    }
  };
  const auto answer = [&] {
    for (std::uint64_t i = 1; i <= kRounds; ++i) {
      // order(bench.tsc): acquire and release; pairs with the asker's
      while (stage->asked.load(std::memory_order_acquire) != i) {
      }
      stage->answer_ticks = ticks_now();
      stage->answered.store(i, std::memory_order_release);
    }
  };
  run_pair(cpus, ask, answer);
  return stage->result;
}

}  // namespace stem::bench
