#include "worker/flight.hpp"

#include <algorithm>
#include <cstring>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "shm/names.hpp"
#include "worker/settle.hpp"

namespace stem::worker {
namespace {

// A handler on the processor cannot be ended from within; its process is killed when it stays there so long after its
// hard limit. Not at once: others are under way in the process.
constexpr std::int64_t kOnProcessorGraceNs = 250'000'000;

}  // namespace

Flight::Flight(Flights& owner, const engine::Lease& lease, const engine::TaskView& task, std::int64_t now_ns)
    : Root(owner.loop()),
      owner_(owner),
      lease_(lease),
      task_(task),
      context_(owner.engine_, lease_, task_, shm::task_name(owner.engine_.segment(), task.task),
               shm::queue_name(owner.engine_.segment(), task.queue), stop_.get_token(), now_ns, nullptr) {
  if (task.payload.data() == task.inline_copy) {
    task_.payload = {task_.inline_copy, task.payload.size()};
  } else if (lease.item != 0) {
    const std::size_t bytes = std::min(task.payload.size(), item_.size());
    std::memcpy(item_.data(), task.payload.data(), bytes);
    task_.payload = {item_.data(), bytes};
  }
  arm_limits(now_ns);
}

Flight::~Flight() {
  remove();
  destroy_frames();
}

void Flight::destroy_frames() {
  if (soft_) loop().cancel(std::exchange(soft_, {}));
  if (hard_) loop().cancel(std::exchange(hard_, {}));
  if (!tree_.handle) return;
  entering();  // their destructors are the handler's code too
  std::exchange(tree_, {}).handle.destroy();
  leaving();
}

void Flight::arm_limits(std::int64_t now_ns) {
  if (!task_.has_extras) return;
  if (task_.extras.soft_limit_ns != 0) {
    soft_ = loop().call_at(now_ns + task_.extras.soft_limit_ns, [this] {
      soft_ = {};
      log::warn("soft time limit reached", {{"task", engine::to_string(task_.id)}});
      ask(End::kSoftLimit);
    });
  }
  if (task_.extras.hard_limit_ns != 0) {
    hard_deadline_ns_ = now_ns + task_.extras.hard_limit_ns;
    hard_ = loop().call_at(hard_deadline_ns_, [this] {
      hard_ = {};
      end_ = End::kHardLimit;
      stop_.request_stop();
      doom();
    });
  }
}

void Flight::begin(const HandlerEntry& handler) {
  tree_ = run(*this, handler);
  tree_.handle.promise().scope = &scope();
  start(tree_.handle);
}

co::Tree Flight::run(Flight& flight, const HandlerEntry& handler) {
  try {
    Co<Outcome> call = handler.start(flight.context_);
    flight.outcome_.emplace(co_await std::move(call));
  } catch (...) {
    flight.outcome_.emplace(outcome_of_exception());
  }
}

void Flight::ask(End why) {
  if (end_ == End::kByItself) end_ = why;
  scope().cancel(why == End::kSoftLimit ? co::Stop::kTimeout : co::Stop::kCancelled);
  stop_.request_stop();
}

// What stands in the roster row while it is on the processor is blamed for a crash, and nothing else that is under way.
void Flight::entering() noexcept {
  shm::RosterRow& row = owner_.engine_.self().row();
  row.current.store(task_.id.handle, std::memory_order_release);
  if (hard_deadline_ns_ == 0) [[likely]]
    return;
  owner_.page_.hard_deadline_ns.store(std::max(hard_deadline_ns_, base::monotonic_ns()) + kOnProcessorGraceNs,
                                      std::memory_order_relaxed);
  owner_.page_.hard_task.store(task_.id.handle, std::memory_order_seq_cst);
}

void Flight::leaving() noexcept {
  owner_.engine_.self().row().current.store(0, std::memory_order_release);
  if (hard_deadline_ns_ != 0) [[unlikely]]
    owner_.page_.hard_task.store(0, std::memory_order_release);
}

}  // namespace stem::worker
