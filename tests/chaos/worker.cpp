// A worker: claims, runs, settles; says in its ledger what it is about to do and what came of it.
#include <unistd.h>

#include <cstring>

#include "shm/doorbell.hpp"
#include "tests/chaos/roles.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::chaos {
namespace {

using engine::Begin;
using engine::Settled;
using test::Entry;

class Worker {
 public:
  explicit Worker(const Role& role)
      : role_(role),
        ledger_(role.ledger_path("worker"), role.ledger_capacity),
        segment_(test::must_attach(kNamespace, role.directory)),
        attached_(segment_, shm::Role::kWorker),
        queue_(test::must_queue(*segment_, kQueue)),
        random_(role.seed) {
    attached_.participant->row().serves_all.store(1);
    // An incarnation begins: what its predecessor left open will stay open.
    ledger_.append({Entry::kCancelled, 0, 0});
  }

  int run() {
    engine::Lease leases[32];
    while (role_.switches.working.load(std::memory_order_relaxed) != 0) {
      attached_.participant->beat();
      const auto most = static_cast<std::uint32_t>(1 + random_.below(32));
      const std::uint32_t n = ledger_.full() ? 0 : attached_->claim(queue_, leases, most, base::monotonic_ns());
      for (std::uint32_t i = 0; i < n; ++i) {
        attached_.participant->beat();
        one(leases[i]);
      }
      if (n == 0)
        (void)shm::sleep_for_work(*attached_.participant, 20'000'000, [this] { return attached_->maybe_ready(queue_); });
    }
    return 0;
  }

 private:
  void one(const engine::Lease& lease) {
    engine::TaskView view;
    if (!attached_->view(lease, view)) return;
    std::uint64_t number = ~0ull;
    if (view.payload.size() >= sizeof number) std::memcpy(&number, view.payload.data(), sizeof number);
    if (random_.below(200) == 0) {
      (void)attached_->release(lease, base::monotonic_ns());
      return;
    }
    if (attached_->begin(lease, view, base::monotonic_ns()) != Begin::kStart) return;
    ledger_.append({Entry::kExecuted, view.tally.attempts, number});
    // Long enough for kills and stops to meet tasks in hand.
    if (random_.below(4) == 0) ::usleep(static_cast<useconds_t>(random_.below(1500)));
    settle(lease, view, number);
  }

  void settle(const engine::Lease& lease, engine::TaskView& view, std::uint64_t number) {
    const std::int64_t now = base::monotonic_ns();
    if (number % 31 == 7 && view.tally.attempts == 0) {
      bool retried = false;
      const auto delay = static_cast<std::int64_t>(random_.below(50'000'000));
      close(attached_->fail(lease, view, {"chaos", "first attempt"}, delay, now, retried), Entry::kRetried, number);
    } else if (number % 37 == 5 && view.tally.releases == 0) {
      close(attached_->snooze(lease, view, 10'000'000, now), Entry::kReleased, number);
    } else {
      ledger_.append({Entry::kSettling, 0, number});
      const std::uint64_t result[20] = {number};
      close(attached_->succeed(lease, view, std::as_bytes(std::span(result)), now), Entry::kAcknowledged, number);
      if (role_.options.canary == Canary::kRunTwice && number % 1000 == 3)
        ledger_.append({Entry::kAcknowledged, 0, number});
    }
  }

  void close(Settled settled, Entry::What what, std::uint64_t number) {
    const bool done = settled == Settled::kDone || role_.options.canary == Canary::kIgnoreFence;
    ledger_.append({done ? what : Entry::kFenced, 0, number});
  }

  const Role& role_;
  test::Ledger ledger_;
  std::shared_ptr<shm::Segment> segment_;
  test::Attached attached_;
  std::uint32_t queue_;
  base::Random random_;
};

}  // namespace

int work(const Role& role) { return Worker(role).run(); }

}  // namespace stem::chaos
