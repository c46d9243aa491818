#include "tests/chaos/arena.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "engine/dead_letters.hpp"
#include "engine/query.hpp"
#include "tests/support/attached.hpp"

namespace stem::chaos {
namespace {

Switches* shared_switches() {
  void* page = ::mmap(nullptr, sizeof(Switches), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    std::perror("mmap");
    std::abort();
  }
  return new (page) Switches;
}

constexpr std::int64_t kSecondNs = 1'000'000'000;

}  // namespace

Arena::Arena(const Options& options)
    : options_(options),
      scratch_(std::make_unique<test::ScratchDirectory>()),
      switches_(shared_switches()),
      // Generous: a file of holes until it is used.
      ledger_capacity_(static_cast<std::size_t>(options.tasks_per_second * options.minutes * 60 * 8) + (1u << 20)),
      random_(options.seed) {
  shm::SegmentOptions segment;
  segment.name_space = kNamespace;
  segment.directory = scratch_->path();
  segment.slot_count = 1u << 15;
  // A keeper that is stopped clears nobody away until another has missed its beats for two seconds; at two hundred strikes a
  // second that leaves four hundred rows of the dead.
  segment.participant_count = 1024;
  segment.queue_count = 4;
  segment.task_count = 4;
  segment.block_bytes = 1ull << 30;
  const auto made = test::must_create(segment);
  (void)test::must_queue(*made, kQueue);
  (void)test::must_task(*made, "task");
  for (std::uint32_t i = 0; i < options.producers; ++i) seats_.push_back({kProducer, i, {}});
  for (std::uint32_t i = 0; i < options.workers; ++i) seats_.push_back({kWorker, i, {}});
  for (std::uint32_t i = 0; i < options.keepers; ++i) seats_.push_back({kKeeper, i, {}});
}

Arena::~Arena() { ::munmap(switches_, sizeof(Switches)); }

void Arena::start(Seat& seat) {
  const Role role{options_, *switches_, scratch_->path(), seat.index, random_.next(), ledger_capacity_};
  seat.resume_at_ns = 0;
  seat.process = test::Process([&] {
    if (seat.kind == kProducer) return produce(role);
    return seat.kind == kWorker ? work(role) : keep(role);
  });
}

// SIGKILL, or SIGSTOP for a while, which may outlast leases and the keeper's patience.
void Arena::strike(Seat& seat, Report& report) {
  if (seat.resume_at_ns != 0 && random_.below(8) != 0) return;  // most of the stopped live to be continued
  const bool stop = random_.below(1'000'000) < static_cast<std::uint64_t>(options_.stop_share * 1e6);
  if (seat.resume_at_ns != 0 || !stop) {
    if (seat.resume_at_ns != 0) ++report.kills_while_stopped;
    ++report.kills[seat.kind];
    seat.process.kill();
    start(seat);
    return;
  }
  ++report.stops[seat.kind];
  seat.process.stop();
  // A worker longer than its leases last; whoever keeps must be back soon, or nobody measures how long.
  const std::int64_t least_ns = seat.kind == kWorker ? kSecondNs : 0;
  const std::int64_t more_ns = seat.kind == kWorker ? 6 * kSecondNs : kSecondNs;
  seat.resume_at_ns =
      base::monotonic_ns() + least_ns + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(more_ns)));
}

// Continues who has been stopped long enough; starts anew who ended by itself, which is a fault.
void Arena::tend(Report& report) {
  const std::int64_t now = base::monotonic_ns();
  for (Seat& seat : seats_) {
    if (seat.resume_at_ns != 0) {
      if (now < seat.resume_at_ns) continue;
      seat.process.resume();
      seat.resume_at_ns = 0;
    } else if (!seat.process.running()) {
      ++report.failed_starts;
      start(seat);
    }
  }
}

Report Arena::run() {
  Report report;
  const std::int64_t begin = base::monotonic_ns();
  const std::int64_t end = begin + static_cast<std::int64_t>(options_.minutes * 60e9);
  for (Seat& seat : seats_) start(seat);
  const double gap_ns = 1e9 / options_.kills_per_second;
  std::int64_t next_ns = begin + kSecondNs / 2;
  while (base::monotonic_ns() < end && report.failed_starts < 100) {
    tend(report);
    if (base::monotonic_ns() >= next_ns) {
      Seat& seat = seats_[random_.below(seats_.size())];
      // A keeper measures silence from the day it took office: spared often, or no lease would ever end by it.
      if (seat.kind != kKeeper || random_.below(8) == 0) strike(seat, report);
      // Between none and twice the gap, so that no rhythm forms.
      next_ns += static_cast<std::int64_t>(static_cast<double>(random_.below(2'000)) / 1'000 * gap_ns);
    }
    const std::int64_t rest = next_ns - base::monotonic_ns();
    if (rest > 0) ::usleep(static_cast<useconds_t>(std::min<std::int64_t>(rest / 1000 + 1, 5'000)));
  }
  report.seconds = static_cast<double>(base::monotonic_ns() - begin) * 1e-9;
  drain(report);
  report.account = add_up(options_, scratch_->path(), ledger_capacity_);
  compare(report);
  return report;
}

void Arena::drain(Report& report) {
  for (Seat& seat : seats_) seat.process.resume();
  switches_->producing.store(0);
  for (Seat& seat : seats_)
    if (seat.kind == kProducer && seat.process.wait() != 0) ++report.failed_starts;
  const auto segment = test::must_attach(kNamespace, scratch_->path());
  test::Attached self(segment, shm::Role::kTool);
  const std::uint32_t queue = test::must_queue(*segment, kQueue);
  const std::int64_t deadline = base::monotonic_ns() + 60 * kSecondNs;
  while (!report.drained && base::monotonic_ns() < deadline) {
    self.participant->beat();
    // A task that killed its process three times is a dead letter: run it once more, without kills.
    engine::DeadLetters dead(*self);
    for (const engine::DeadLetter& letter : dead.list({}))
      if (dead.replay(letter, 0, base::monotonic_ns())) ++report.replayed;
    report.drained = engine::Query(*self).queues().at(queue).live() == 0;
    if (!report.drained) ::usleep(20'000);
  }
  switches_->working.store(0);
  for (Seat& seat : seats_)
    if (seat.kind != kProducer && seat.process.wait() != 0) ++report.failed_starts;
  (void)self->sweep_all(base::monotonic_ns());
  engine::Keeper keeper(*self);
  keeper.hold(base::monotonic_ns());
  keeper.patrol_all(base::monotonic_ns());
  for (const engine::Finding& f : engine::verify(*self).findings)
    if (f.severity == engine::Finding::Severity::kBroken) report.broken.push_back(f.invariant + ": " + f.detail);
  report.enqueued = test::total(*self, queue, shm::Counter::kEnqueued);
  report.succeeded = test::total(*self, queue, shm::Counter::kSucceeded);
  report.redelivered = test::total(*self, queue, shm::Counter::kRedelivered);
  report.dead_added = test::total(*self, queue, shm::Counter::kDeadAdded);
}

// The segment's counters, kept by the killed, against the ledgers.
void Arena::compare(Report& report) {
  const Account& a = report.account;
  const auto differ = [&report](const char* what, std::uint64_t counter, std::uint64_t ledger) {
    if (counter != ledger)
      report.sums.push_back(std::string(what) + ": the counters say " + std::to_string(counter) + ", the ledgers " +
                            std::to_string(ledger));
  };
  differ("tasks enqueued", report.enqueued, a.accepted + a.uncertain_there);
  differ("tasks succeeded", report.succeeded, a.acknowledged + a.unconfirmed);
  const std::uint64_t ends = a.acknowledged + a.retried + a.snoozed + a.fenced + a.cut_short + a.on_record;
  if (a.executions != ends + a.unaccounted + a.twice) differ("executions", a.executions, ends);
  // Each death of a worker cuts short at most the one task that it ran.
  if (a.cut_short > report.kills[kWorker])
    report.sums.push_back(std::to_string(a.cut_short) + " executions were cut short by " +
                          std::to_string(report.kills[kWorker]) + " deaths");
}

}  // namespace stem::chaos
