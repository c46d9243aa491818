// Stem itself, doing the peers' work: a producer process, a worker process, every payload checked, every
// task acknowledged.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <vector>

#include "base/clock.hpp"
#include "bench/failure.hpp"
#include "bench/peer.hpp"
#include "bench/scene.hpp"
#include "bench/stem_producer.hpp"
#include "worker/worker_options.hpp"

namespace stem::bench {

namespace {

constexpr std::uint32_t kPrefetch = 64;
using worker::kTasksPerClockRead;

}  // namespace

void consume_stem(Seat& seat, const Work& work, bool naps) {
  engine::Engine& engine = seat.engine();
  TaskLedger ledger(work.tasks, work.payload_bytes);
  engine::Lease leases[kPrefetch];
  engine::TaskView view;
  const auto check = [](engine::Settled settled) {
    if (settled != engine::Settled::kDone) throw Failure("Stem refused an acknowledgement");
  };
  // As a worker process does with quick handlers: groups of tasks share a clock read, the items of a run their
  // acknowledgement.
  std::int64_t now_ns = base::monotonic_ns();
  std::uint32_t since_clock = 0;
  while (ledger.seen() < work.tasks) {
    const std::uint32_t n = engine.claim(seat.queue(), leases, kPrefetch, now_ns);
    seat.participant().beat();
    if (n == 0 && naps) {
      constexpr timespec kNap{0, 20'000};
      nanosleep(&kNap, nullptr);
    }
    if (n == 0) now_ns = base::monotonic_ns();
    for (std::uint32_t i = 0; i < n; ++i) {
      if (!engine.view(leases[i], view) || engine.begin(leases[i], view, now_ns) != engine::Begin::kStart)
        throw Failure("Stem lost a lease");
      ledger.mark({reinterpret_cast<const char*>(view.payload.data()), view.payload.size()});
      if (++since_clock == kTasksPerClockRead) {
        const std::int64_t end_ns = base::monotonic_ns();
        seat.participant().record_duration(view.task, (end_ns - now_ns) / kTasksPerClockRead, kTasksPerClockRead);
        now_ns = end_ns;
        since_clock = 0;
      }
      check(engine.succeed_later(leases[i], view, now_ns));
    }
    check(engine.commit_acks());
  }
  if (engine.lanes().queued(seat.queue()) != 0) throw Failure("Stem's queue is not empty");
}

namespace {

PeerResult run(const Work& work, std::uint32_t batch) {
  shm::SegmentOptions options;
  options.slot_count =
      static_cast<std::uint32_t>(std::clamp<std::uint64_t>(work.tasks + work.tasks / 8, 1u << 16, shm::kMaxSlots));
  Scene scene(options);
  const auto seat = [&](shm::Role role) { return std::make_shared<Seat>(scene, role, "peers"); };
  const Side producer = [&]() -> std::function<void()> {
    return [&work, batch, place = seat(shm::Role::kClient)] { produce_stem(*place, work, batch); };
  };
  const Side consumer = [&]() -> std::function<void()> {
    return [&work, place = seat(shm::Role::kWorker)] { consume_stem(*place, work); };
  };
  return run_sides("Stem", work, producer, consumer);
}

Peer stem_by(std::uint32_t batch) {
  Peer peer;
  peer.key = fmt::format("stem_{}", batch);
  peer.name = batch == 1 ? "Stem, one at a time" : fmt::format("Stem, by {}", batch);
  peer.how = batch == 1 ? "enqueue; claim up to 64, succeed each" : "enqueue_many; claim up to 64, succeed each";
  peer.is_subject = true;
  peer.missing = [] { return std::string(); };
  peer.run = [batch](const Work& work) { return run(work, batch); };
  return peer;
}

}  // namespace

std::vector<Peer> stem_subjects() { return {stem_by(1), stem_by(64)}; }

}  // namespace stem::bench
