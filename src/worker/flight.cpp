#include "worker/flight.hpp"

#include <algorithm>
#include <cstring>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "worker/settle.hpp"

namespace stem::worker {
namespace {

// A handler on the processor cannot be ended from within, and neither can one whose operation the kernel does not give
// back; its process is killed when that lasts so long after its hard limit. Not at once: others are under way in the
// process.
constexpr std::int64_t kGraceNs = 250'000'000;

}  // namespace

Flight::Flight(Flights& owner, const engine::Lease& lease, const engine::TaskView& task, std::int64_t now_ns)
    : Root(owner.loop()),
      owner_(owner),
      lease_(lease),
      task_(task),
      extras_(task.has_extras ? new Extras{task.extras, {}, {}} : nullptr),
      context_(owner.engine_, lease_, task_, extras_ ? &extras_->of_task : nullptr, *this, now_ns) {
  if (task.payload.data() == task.inline_copy) {
    task_.payload = {task_.inline_copy, task.payload.size()};
  } else if (lease.item != 0) {  // a run's: the engine keeps few runs
    static_assert(engine::kRunItemBytes <= shm::kInlineBytes);
    const std::size_t bytes = std::min(task.payload.size(), sizeof task_.inline_copy);
    std::memcpy(task_.inline_copy, task.payload.data(), bytes);
    task_.payload = {task_.inline_copy, bytes};
  }
  arm_limits(now_ns);
}

Flight::~Flight() {
  remove();
  destroy_frames();
}

void Flight::view(engine::TaskView& into) const {
  static_cast<engine::TaskHead&>(into) = task_;
  // Inline payloads end shorter, and are known by where they lie (Engine::finish()).
  if (task_.payload.data() == task_.inline_copy) into.payload = {into.inline_copy, task_.payload.size()};
  if (extras_ != nullptr) into.extras = extras_->of_task;
}

void Flight::destroy_frames() {
  if (extras_ != nullptr) {
    if (extras_->soft) loop().cancel(std::exchange(extras_->soft, {}));
    if (extras_->hard) loop().cancel(std::exchange(extras_->hard, {}));
  }
  if (!tree_.handle) return;
  entering();  // their destructors are the handler's code too
  std::exchange(tree_, {}).handle.destroy();
  leaving();
}

void Flight::arm_limits(std::int64_t now_ns) {
  if (extras_ == nullptr) return;
  const engine::TaskExtras& limits = extras_->of_task;
  if (limits.soft_limit_ns != 0) {
    extras_->soft = loop().call_at(engine::later_ns(now_ns, limits.soft_limit_ns), [this] {
      extras_->soft = {};
      tell_soft_limit();
      ask(End::kSoftLimit);
    });
  }
  if (limits.hard_limit_ns != 0) {
    extras_->hard_deadline_ns = engine::later_ns(now_ns, limits.hard_limit_ns);
    extras_->hard = loop().call_at(extras_->hard_deadline_ns, [this] {
      // For an operation that does not come back. Twice half the time: what has come back while nobody turned the loop
      // is seen between the two.
      extras_->hard = loop().call_at(base::monotonic_ns() + kGraceNs / 2, [this] {
        extras_->hard = loop().call_at(base::monotonic_ns() + kGraceNs / 2, [this] { owner_.end_process_for(*this); });
      });
      end_ = End::kHardLimit;
      (void)stop_.request_stop();
      doom();
    });
  }
}

void Flight::tell_soft_limit() {
  shm::Event timeout;
  timeout.kind = shm::EventKind::kTimeout;
  timeout.at_ns = base::monotonic_ns();
  timeout.handle = task_.id.handle;
  timeout.queue = static_cast<std::uint16_t>(task_.queue);
  timeout.task = static_cast<std::uint16_t>(task_.task);
  timeout.attempt = static_cast<std::uint16_t>(task_.tally.attempts);
  owner_.engine_.events().write(timeout);
  log::warn("soft time limit reached", {{"task", engine::to_string(task_.id)}});
}

void Flight::begin(const HandlerEntry& handler) {
  tree_ = handler.start(context_, outcome_);
  tree_.handle.promise().scope = &scope();
  start(tree_.handle);
}

void Flight::ask(End why) {
  if (end_ == End::kByItself) end_ = why;
  scope().cancel(why == End::kSoftLimit ? co::Stop::kTimeout : co::Stop::kCancelled);
  (void)stop_.request_stop();
}

std::stop_token Flight::make_stop_token() {
  stop_ = std::stop_source();
  if (end_ != End::kByItself) stop_.request_stop();
  return stop_.get_token();
}

// What stands in the roster row while it is on the processor is blamed for a crash, and nothing else that is under way.
void Flight::entering() noexcept {
  shm::RosterRow& row = owner_.engine_.self().row();
  row.current.store(task_.id.handle, std::memory_order_release);
  row.current_since_ns.store(started_ns(), std::memory_order_relaxed);
  if (extras_ == nullptr || extras_->hard_deadline_ns == 0) [[likely]]
    return;
  owner_.page_.hard_deadline_ns.store(std::max(extras_->hard_deadline_ns, base::monotonic_ns()) + kGraceNs,
                                      std::memory_order_relaxed);
  owner_.page_.hard_task.store(task_.id.handle, std::memory_order_seq_cst);
}

void Flight::leaving() noexcept {
  owner_.engine_.self().row().current.store(0, std::memory_order_release);
  if (extras_ != nullptr && extras_->hard_deadline_ns != 0) [[unlikely]]
    owner_.page_.hard_task.store(0, std::memory_order_release);
}

}  // namespace stem::worker
