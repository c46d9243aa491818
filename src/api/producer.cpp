#include "api/producer.hpp"

#include <algorithm>
#include <ctime>
#include <exception>
#include <vector>

#include "base/check.hpp"
#include "base/units.hpp"
#include "shm/names.hpp"

namespace stem::api {

using engine::EnqueueStatus;

namespace {

constexpr std::int64_t kFirstPauseNs = 20'000;
constexpr std::int64_t kLongestPauseNs = 1'000'000;

void pause_for(const Clock* clock, std::int64_t ns) {
  if (clock != nullptr) return clock->pause(ns);
  const timespec t{0, ns};
  ::nanosleep(&t, nullptr);
}

// Runs `body`, and turns what it throws (memory, JSON of bad UTF-8) into an Error.
template <class Body>
std::unique_ptr<Error> guarded(Body body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return boxed({Errc::kNoMemory, "this process has no memory left"});
  } catch (const std::exception& e) {
    return boxed({Errc::kInvalidArgument, e.what()});
  }
}

bool has_journal(const shm::Segment& segment, std::uint32_t queue) noexcept {
  return shm::durability_of(segment, queue) != shm::Durability::kMemory;
}

class EngineLoan final : public detail::LoanedSlot {
 public:
  EngineLoan(Producer& producer, std::string task_name) : producer_(producer), task_name_(std::move(task_name)) {
    loan_.slot = ~0u;  // nothing yet
  }
  ~EngineLoan() override {
    check_thread();
    producer_.engine().drop(loan_);
  }
  std::span<std::byte> payload() noexcept override { return loan_.payload; }
  detail::Enqueued publish() noexcept override {
    check_thread();
    if (auto refused = producer_.refuse_undurable(loan_.spec.queue)) return {{}, false, std::move(refused)};
    const std::uint32_t queue = loan_.spec.queue;
    const engine::EnqueueResult made = producer_.engine().publish(loan_, producer_.now_ns());
    if (made.status == EnqueueStatus::kOk) {
      std::size_t kept = 0;
      if (auto lost = producer_.make_durable(queue, std::span(&made.id, 1), kept)) return {{}, false, std::move(lost)};
      return {made.id, false, nullptr};
    }
    if (made.status == EnqueueStatus::kDuplicate) return {made.id, true, nullptr};
    return {{}, false, boxed(refusal(made.status, TaskInfo(task_name_, {}, false), loan_.payload.size()))};
  }

  PreparedCall call;
  engine::Loan loan_;

 private:
  // A slot belongs to the thread that took it; another thread's use is a programmer's error.
  void check_thread() const noexcept {
    const shm::RosterRow& row = producer_.engine().self().row();
    STEM_CHECK(row.tid == static_cast<std::uint32_t>(::gettid()));
  }

  Producer& producer_;
  std::string task_name_;
};

}  // namespace

std::unique_ptr<Error> boxed(Error error) { return std::make_unique<Error>(std::move(error)); }

Error refusal(EnqueueStatus status, const TaskInfo& task, std::size_t payload_bytes) {
  const std::string name = "task \"" + std::string(task.name) + "\": ";
  switch (status) {
    case EnqueueStatus::kFull:
      return {Errc::kFull, name +
                               "no room: the queue is at its maximum length, or the segment holds as many tasks "
                               "as it can; start more workers, wait (full_timeout), or raise the limit"};
    case EnqueueStatus::kTooLarge:
      return {Errc::kTooLarge, name + "the payload has " + base::human_size(payload_bytes) + ", at most " +
                                   base::human_size(shm::kMaxPayloadBytes) +
                                   " with headers and links fit; pass a file name or an address instead"};
    case EnqueueStatus::kNoMemory:
      return {Errc::kNoMemory, name + "no memory for the payload: /dev/shm or the segment's payload space is full"};
    case EnqueueStatus::kDetached:
      return {Errc::kRefused, name + "this process was taken for dead and could not attach again"};
    case EnqueueStatus::kOk:
    case EnqueueStatus::kDuplicate: break;
  }
  return {Errc::kSystem, name + "unexpected answer"};
}

Moment Producer::moment() const noexcept {
  if (clock_ != nullptr) return {clock_->monotonic_ns(), clock_->realtime_ns()};
  return {base::monotonic_ns(), base::realtime_ns()};
}

std::int64_t Producer::wait_limit_ns(std::uint32_t queue, const EnqueueOptions* options) const noexcept {
  if (options != nullptr && options->full_timeout) return options->full_timeout->count();
  const auto policy = engine_.segment().queue(queue).overflow.load(std::memory_order_relaxed);
  return policy == static_cast<std::uint32_t>(shm::Overflow::kBlock) ? engine::kSecondNs : 0;
}

// Nobody rings when room appears: that would cost every acknowledgement. A producer that waits looks
// again, less and less often, up to a thousand times a second.
engine::EnqueueResult Producer::enqueue_waiting(const engine::TaskSpec& spec, const EnqueueOptions* options) {
  const std::int64_t started_ns = now_ns();
  engine::EnqueueResult made = engine_.enqueue(spec, started_ns);
  if (made.status != EnqueueStatus::kFull) return made;
  const std::int64_t limit_ns = wait_limit_ns(spec.queue, options);
  std::int64_t pause_ns = kFirstPauseNs;
  for (std::int64_t now = started_ns; made.status == EnqueueStatus::kFull && now - started_ns < limit_ns;) {
    pause_for(clock_, std::min(pause_ns, limit_ns - (now - started_ns)));
    pause_ns = std::min(pause_ns * 2, kLongestPauseNs);
    now = now_ns();
    made = engine_.enqueue(spec, now);
  }
  return made;
}

detail::Enqueued Producer::enqueue(const TaskInfo& task, BytesView payload, bool in_place,
                                   const EnqueueOptions* options, bool& detached) noexcept {
  detail::Enqueued done;
  if (options == nullptr) {
    const ResolvedTask* r = resolver_.recent(task.key);
    const bool durable = r != nullptr && has_journal(engine_.segment(), r->spec.queue);
    if (r != nullptr && r->plain && (!durable || may_go_ahead(r->spec.queue))) [[likely]] {
      engine::TaskSpec spec = r->spec;
      spec.payload = payload;
      spec.in_place = in_place;
      const engine::EnqueueResult made = engine_.enqueue(spec, now_ns());
      if (made.status == EnqueueStatus::kOk) [[likely]] {
        if (durable) ++ahead_;
        done.id = made.id;
        return done;
      }
    }
  }
  done.error = guarded([&] {
    done = enqueue_slowly(task, payload, in_place, options, detached);
    return std::move(done.error);
  });
  return done;
}

detail::Enqueued Producer::enqueue_slowly(const TaskInfo& task, BytesView payload, bool in_place,
                                          const EnqueueOptions* options, bool& detached) {
  static const EnqueueOptions none;
  const auto resolved = resolver_.resolve(task);
  if (!resolved) return {{}, false, boxed(resolved.error())};
  PreparedCall call;
  if (auto good = prepare_call(resolver_, **resolved, options == nullptr ? none : *options, payload, moment(), call);
      !good)
    return {{}, false, boxed(good.error().within("task \"" + std::string(task.name) + "\""))};
  call.spec.in_place = in_place;
  if (auto refused = refuse_undurable(call.spec.queue)) return {{}, false, std::move(refused)};
  const engine::EnqueueResult made = enqueue_waiting(call.spec, options);
  if (made.status == EnqueueStatus::kOk) {
    std::size_t kept = 0;
    if (auto lost = make_durable(call.spec.queue, std::span(&made.id, 1), kept)) return {{}, false, std::move(lost)};
  } else if (made.status == EnqueueStatus::kDuplicate) {
    // Who asks again, because he was not told, wants to know the same. The task is another's to take back.
    if (auto unknown = await_holder(call.spec.queue, made.id)) return {{}, false, std::move(unknown)};
  }
  switch (made.status) {
    case EnqueueStatus::kOk: return {made.id, false, nullptr};
    case EnqueueStatus::kDuplicate: return {made.id, true, nullptr};
    default: break;
  }
  detached = made.status == EnqueueStatus::kDetached;
  return {{}, false, boxed(refusal(made.status, task, payload.size()))};
}

std::unique_ptr<Error> Producer::enqueue_many(const TaskInfo& task, std::span<const BytesView> payloads, bool in_place,
                                              const EnqueueOptions* options, detail::Enqueued* ids, std::size_t& done,
                                              bool& detached) noexcept {
  done = 0;
  return guarded([&]() -> std::unique_ptr<Error> {
    static const EnqueueOptions none;
    const auto resolved = resolver_.resolve(task);
    if (!resolved) return boxed(resolved.error());
    PreparedCall call;
    if (auto good = prepare_call(resolver_, **resolved, options == nullptr ? none : *options, {}, moment(), call);
        !good)
      return boxed(good.error().within("task \"" + std::string(task.name) + "\""));
    const bool sync = shm::durability_of(engine_.segment(), call.spec.queue) == shm::Durability::kSync;
    // What was made before the queue became `sync` is on disk when it is said to be made, also where the rest failed.
    const auto end = [&](std::unique_ptr<Error> because) {
      auto lost = sync ? nullptr : keep_up(call.spec.queue, std::span(ids, done));
      return lost ? std::move(lost) : std::move(because);
    };
    if (call.spec.extras == nullptr) {  // all alike and plain: one visit, hints pushed together
      call.spec.in_place = in_place;
      std::vector<engine::TaskSpec> specs(payloads.size(), call.spec);
      for (std::size_t i = 0; i < payloads.size(); ++i) specs[i].payload = payloads[i];
      std::vector<engine::TaskId> made(payloads.size());
      // Of those with a journal no more at once than may be ahead of the disk.
      const std::size_t most = has_journal(engine_.segment(), call.spec.queue) ? kMostAhead / 2 : specs.size();
      EnqueueStatus status = EnqueueStatus::kOk;
      while (done < specs.size() && status == EnqueueStatus::kOk) {
        const std::size_t first = done;
        const std::size_t now = std::min(most, specs.size() - first);
        if (auto refused = refuse_undurable(call.spec.queue, now)) return end(std::move(refused));
        std::size_t now_done = 0;
        status = engine_.enqueue_many(specs.data() + first, now, made.data() + first, now_done, now_ns());
        for (std::size_t i = first; i < first + now_done; ++i) ids[i] = {made[i], false, nullptr};
        auto lost = make_durable(call.spec.queue, std::span(made.data() + first, now_done), now_done);
        done = first + now_done;
        if (lost) return lost;
      }
      if (status != EnqueueStatus::kOk && status != EnqueueStatus::kFull) {
        detached = status == EnqueueStatus::kDetached;
        return end(boxed(refusal(status, task, payloads[done].size())));
      }
    }
    // One by one: what has extras of its own, and the rest of a batch that found the queue full.
    for (; done < payloads.size(); ++done) {
      ids[done] = enqueue_slowly(task, payloads[done], in_place, options, detached);
      if (ids[done].error) return end(std::move(ids[done].error));
    }
    return end(nullptr);
  });
}

Result<std::unique_ptr<detail::LoanedSlot>> Producer::loan(const TaskInfo& task, std::size_t payload_bytes,
                                                           bool in_place, const EnqueueOptions* options,
                                                           bool& detached) noexcept {
  std::unique_ptr<detail::LoanedSlot> slot;
  const auto error = guarded([&]() -> std::unique_ptr<Error> {
    static const EnqueueOptions none;
    const EnqueueOptions& o = options == nullptr ? none : *options;
    const auto resolved = resolver_.resolve(task);
    if (!resolved) return boxed(resolved.error());
    // The key of a unique task is a hash of the arguments, and these are written later.
    if (o.unique.value_or((*resolved)->unique) && o.unique_key.empty())
      return boxed({Errc::kInvalidArgument,
                    "task \"" + std::string(task.name) + "\": a loan of a unique task needs a unique_key"});
    if (payload_bytes > shm::kMaxPayloadBytes) return boxed(refusal(EnqueueStatus::kTooLarge, task, payload_bytes));
    auto loan = std::make_unique<EngineLoan>(*this, std::string(task.name));
    if (auto good = prepare_call(resolver_, **resolved, o, {}, moment(), loan->call); !good)
      return boxed(good.error().within("task \"" + std::string(task.name) + "\""));
    loan->call.spec.in_place = in_place;
    const EnqueueStatus status =
        engine_.loan(loan->call.spec, static_cast<std::uint32_t>(payload_bytes), loan->loan_, now_ns());
    if (status != EnqueueStatus::kOk) {
      loan->loan_.slot = ~0u;
      detached = status == EnqueueStatus::kDetached;
      return boxed(refusal(status, task, payload_bytes));
    }
    slot = std::move(loan);
    return nullptr;
  });
  if (error) return *error;
  return slot;
}

}  // namespace stem::api
