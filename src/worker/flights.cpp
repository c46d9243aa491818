#include "worker/flights.hpp"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/units.hpp"
#include "engine/control.hpp"
#include "shm/doorbell.hpp"
#include "worker/control.hpp"
#include "worker/flight.hpp"
#include "worker/settle.hpp"

namespace stem::worker {
namespace {

constexpr std::int64_t kLongAwayNs = 500'000'000;  // no lease is shorter

// A handler whose operations end because the worker stops says so as it can: also with stem::fail().
bool gave_up(const Outcome& outcome) {
  using Kind = Outcome::Kind;
  return outcome.kind() == Kind::kFail || outcome.kind() == Kind::kRetry || outcome.kind() == Kind::kFailPermanently;
}

}  // namespace

Result<std::unique_ptr<Flights>> Flights::create(engine::Engine& engine, ChildPage& page, std::uint32_t slots) {
  auto loop = io::Loop::create();
  if (!loop.ok()) return loop.error().within("a loop for coroutine handlers");
  return std::unique_ptr<Flights>(new Flights(engine, page, slots, *std::move(loop)));
}

Flights::Flights(engine::Engine& engine, ChildPage& page, std::uint32_t slots, std::unique_ptr<io::Loop> loop)
    : engine_(engine), page_(page), slots_(slots), loop_(std::move(loop)) {
  if (!loop_->can_wait_futex()) bridge_ = std::make_unique<io::DoorbellBridge>(engine.self());
  listen();
}

// First the loop: the kernel lets go of the frames' buffers.
Flights::~Flights() {
  loop_->abandon();
  while (!flights_.alone()) delete static_cast<Flight*>(flights_.next);
}

// Armed all the time: each ring changes the word, so none is missed between two turns.
void Flights::listen() {
  if (bridge_ == nullptr) {
    loop_->wait_futex(engine_.self().row().doorbell, shm::prepare_sleep(engine_.self()),
                      [this](std::int32_t) { listen(); });
    return;
  }
  loop_->wait_readable(bridge_->fd(), [this](std::int32_t) {
    bridge_->clear();
    listen();
  });
}

void Flights::launch(const HandlerEntry& handler, const engine::Lease& lease, const engine::TaskView& task,
                     std::int64_t now_ns) {
  auto* const flight = new Flight(*this, lease, task, now_ns);
  flight->insert_before(flights_);
  ++size_;
  note_lease(task, /*more=*/true);
  // Asked for between the claim and here, nobody would see it again.
  if (engine::Control::revoke_requested(engine_.self().row(), task.id)) flight->ask(Flight::End::kRevoked);
  if (stopping_) flight->ask(Flight::End::kStopped);
  flight->begin(handler);  // may be over with it
}

bool Flights::turn(std::int64_t timeout_ns) {
  obey_revokes();
  answer_where();
  const auto ran = loop_->run_once(timeout_ns);
  if (!ran.ok()) log::error("the kernel refuses the loop of coroutine handlers", {{"error", ran.error().message}});
  STEM_CHECK(ran.ok());  // the process is replaced, and what it held runs elsewhere
  engine_.self().row().inflight.store(size_, std::memory_order_relaxed);
  const std::int64_t now = base::monotonic_ns();
  if (now - turned_ns_ > kLongAwayNs) look_at_leases();
  turned_ns_ = now;
  count_renewals();
  return *ran != 0;
}

// Each heartbeat since the last look renews what is under way.
void Flights::count_renewals() {
  const std::uint64_t beats = engine_.self().row().heartbeat.load(std::memory_order_relaxed);
  if (beats == beats_seen_) [[likely]]
    return;
  beats_seen_ = beats;
  for (std::uint32_t queue = 0; queue < renewing_.size(); ++queue)
    if (renewing_[queue] != 0) engine_.self().count_renewal(queue, renewing_[queue]);
}

// `more`: it has begun; otherwise it is over.
void Flights::note_lease(const engine::TaskHead& task, bool more) {
  if ((task.flags & shm::kNoRenew) != 0) return;
  if (task.queue >= renewing_.size()) renewing_.resize(task.queue + 1);
  renewing_[task.queue] += more ? 1 : -1;
}

// We have been stopped, or somebody kept the processor: leases may be over, and what runs under them would be for
// nothing.
void Flights::look_at_leases() {
  std::uint32_t lost = 0;
  for (co::Hook* at = flights_.next; at != &flights_; at = at->next) {
    Flight& flight = *static_cast<Flight*>(at);
    if (flight.end() != Flight::End::kByItself || engine_.holds(flight.lease())) continue;
    flight.ask(Flight::End::kLost);
    ++lost;
  }
  if (lost != 0) log::warn("leases were lost while this worker stood still", {{"tasks", lost}});
}

void Flights::stop() {
  if (stopping_) return;
  stopping_ = true;
  for (co::Hook* at = flights_.next; at != &flights_; at = at->next)
    static_cast<Flight*>(at)->ask(Flight::End::kStopped);
}

// Requests ring nobody and stay until a worker takes its own: looked for only when there is a new one.
void Flights::obey_revokes() {
  const shm::RosterRow& row = engine_.self().row();
  bool news = false;
  for (std::uint32_t i = 0; i < shm::kRevokeWords; ++i) {
    const std::uint64_t asked = row.revoke[i].load(std::memory_order_acquire);
    news |= asked != 0 && asked != revokes_seen_[i];
    revokes_seen_[i] = asked;
  }
  if (!news) [[likely]]
    return;
  for (co::Hook* at = flights_.next; at != &flights_; at = at->next) {
    Flight& flight = *static_cast<Flight*>(at);
    if (engine::Control::revoke_requested(row, flight.task().id)) flight.ask(Flight::End::kRevoked);
  }
}

// Somebody asks what a handler waits for (`stem why`). Of several items of one run the first is told.
void Flights::answer_where() {
  shm::RosterRow& row = engine_.self().row();
  ControlRequest request;
  if (!take_request(row, request) || request.command != Command::kWhere) [[likely]]
    return;
  tell_received(engine_, request, base::monotonic_ns());
  Answer what = Answer::kRefused;
  std::uint32_t value = 0;
  for (co::Hook* at = flights_.next; at != &flights_; at = at->next) {
    Flight& flight = *static_cast<Flight*>(at);
    if (flight.lease().slot != request.argument) continue;
    const co::Waiter* waiter = flight.scope().first_waiter();
    value = (waiter == nullptr ? io::WaitsFor{} : waiter->waits_for()).pack();
    what = Answer::kDone;
    break;
  }
  answer(row, request, what, value);
  tell_answered(engine_, request, what, base::monotonic_ns());
}

void Flights::land(Flight& flight) {
  flight.destroy_frames();  // first: what it undoes at its end is done when the task is settled
  const std::int64_t now = base::monotonic_ns();
  settle_flight(flight, now);
  engine_.self().record_duration(flight.task().task, std::max<std::int64_t>(0, now - flight.started_ns()), 1);
  --size_;
  note_lease(flight.task(), /*more=*/false);
  delete &flight;
}

// Its hard limit is over, and what it waits for cannot be called off: a thread that the kernel holds, a file server that
// is gone. Only the end of the process ends it. The others under way run again, when the supervisor, or any keeper, sees
// the death; nobody is waited for, so that a supervisor that stands still keeps nothing here. It is told as of a handler
// that stays on the processor: the kernel may not let the process go for as long as the operation lasts.
void Flights::end_process_for(Flight& flight) {
  log::warn("an operation cannot be called off at its handler's hard limit: the process ends",
            {{"task", engine::to_string(flight.task().id)}});
  settle_flight(flight, base::monotonic_ns());
  page_.exit_reason.store(static_cast<std::uint32_t>(ExitReason::kHardLimit), std::memory_order_release);
  page_.hard_deadline_ns.store(base::monotonic_ns(), std::memory_order_relaxed);
  page_.hard_task.store(flight.task().id.handle, std::memory_order_seq_cst);
  const std::uint64_t supervisor = engine_.self().row().supervisor.load(std::memory_order_relaxed) & 0xfff;
  if (supervisor != 0) shm::ring(engine_.segment(), static_cast<std::uint32_t>(supervisor) - 1);
  ::_exit(1);
}

void Flights::settle_flight(Flight& flight, std::int64_t now_ns) {
  const engine::Lease& lease = flight.lease();
  engine::TaskView task;
  flight.view(task);
  std::optional<Outcome>& outcome = flight.outcome();
  if (engine::Control::take_revoke_request(engine_.self().row(), task.id) || flight.end() == Flight::End::kRevoked) {
    outcome.emplace(Outcome::discard("revoked while it ran"));
  } else if (!outcome) {  // by force
    settle_hard_limit(engine_, lease, task, now_ns);
    engine_.tell_postrun(task, "hard-time-limit", now_ns);
    return;
  } else if (flight.end() == Flight::End::kStopped && gave_up(*outcome)) {
    // It gave up because this worker stops: as it came.
    if (engine_.release(lease, now_ns) == engine::Settled::kFenced)
      log::warn("lease lost while the task ran", {{"task", engine::to_string(task.id)}});
    engine_.tell_postrun(task, "given-back", now_ns);
    return;
  }
  settle(engine_, lease, task, *outcome, Acknowledge::kNow, now_ns);
}

}  // namespace stem::worker
