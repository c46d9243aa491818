// A worker: claims, runs, settles; says in its ledger what it is about to do and what came of it.
#include <unistd.h>

#include <cstring>
#include <vector>

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
      commit_shared();
      if (n == 0)
        (void)shm::sleep_for_work(*attached_.participant, 20'000'000,
                                  [this] { return attached_->maybe_ready(queue_); });
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
      commit_shared();
      (void)attached_->release(lease, base::monotonic_ns());
      return;
    }
    if (attached_->begin(lease, view, base::monotonic_ns()) != Begin::kStart) return;
    ledger_.append({Entry::kExecuted, view.tally.attempts, number});
    // Long enough for kills and stops to meet tasks in hand.
    if (random_.below(1'000'000) < static_cast<std::uint64_t>(role_.options.slow_share * 1e6))
      ::usleep(static_cast<useconds_t>(random_.below(1500)));
    settle(lease, view, number);
  }

  void settle(const engine::Lease& lease, engine::TaskView& view, std::uint64_t number) {
    const std::int64_t now = base::monotonic_ns();
    const bool fails = number % 31 == 7 && view.tally.attempts == 0;
    const bool snoozes = number % 37 == 5 && view.tally.releases == 0;
    if (lease.item != 0 && !fails && !snoozes && random_.below(4) != 0) return settle_later(lease, view, number, now);
    commit_shared();
    if (fails) {
      bool retried = false;
      const auto delay = static_cast<std::int64_t>(random_.below(50'000'000));
      close(attached_->fail(lease, view, {"chaos", "first attempt"}, delay, now, retried), Entry::kRetried, number);
    } else if (snoozes) {
      close(attached_->snooze(lease, view, 10'000'000, now), Entry::kReleased, number);
    } else {
      ledger_.append({Entry::kSettling, 0, number});
      const std::uint64_t result[20] = {number};
      close(attached_->succeed(lease, view, std::as_bytes(std::span(result)), now), Entry::kAcknowledged, number);
      if (role_.options.canary == Canary::kRunTwice && number % 1000 == 3)
        ledger_.append({Entry::kAcknowledged, 0, number});
    }
  }

  // The items of a run share their acknowledgement; it is written down when it has been given.
  void settle_later(const engine::Lease& lease, engine::TaskView& view, std::uint64_t number, std::int64_t now) {
    if (lease.slot != shared_slot_) commit_shared();
    shared_slot_ = lease.slot;
    ledger_.append({Entry::kRecorded, 0, number});
    const bool done = granted(attached_->succeed_later(lease, view, now));
    if (done) shared_.push_back(number);
    if (!done) ledger_.append({Entry::kFenced, 1, number});
    if (attached_->acks_pending()) return;
    if (done) tell_shared();
    shared_.clear();  // otherwise the whole run was lost
  }

  void commit_shared() {
    if (shared_.empty()) return;
    if (granted(attached_->commit_acks())) tell_shared();
    shared_.clear();
  }

  void tell_shared() {
    for (const std::uint64_t number : shared_) ledger_.append({Entry::kAcknowledged, 1, number});
    shared_.clear();
  }

  void close(Settled settled, Entry::What what, std::uint64_t number) {
    ledger_.append({granted(settled) ? what : Entry::kFenced, 0, number});
  }

  bool granted(Settled settled) const {
    return settled == Settled::kDone || role_.options.canary == Canary::kIgnoreFence;
  }

  const Role& role_;
  test::Ledger ledger_;
  std::shared_ptr<shm::Segment> segment_;
  test::Attached attached_;
  std::uint32_t queue_;
  base::Random random_;
  std::uint32_t shared_slot_ = ~0u;
  std::vector<std::uint64_t> shared_;  // over, and not acknowledged yet
};

}  // namespace

int work(const Role& role) { return Worker(role).run(); }

}  // namespace stem::chaos
