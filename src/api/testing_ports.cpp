// The recorder and the inline runner: clients without a segment.
#include <map>
#include <nlohmann/json.hpp>

#include "api/producer.hpp"
#include "api/task_resolver.hpp"
#include "api/waiting.hpp"
#include "api/worker_context.hpp"
#include "stem/testing.hpp"

namespace stem::testing {
namespace {

constexpr std::uint32_t kNoSegment = 0x7e57;  // the epoch of ids that no segment has

// What a client without a segment has in common: ids, loans on the heap, checks of the task's options.
class MemoryPort : public detail::Port {
 public:
  std::unique_ptr<Error> enqueue_many(const TaskInfo& task, std::span<const BytesView> payloads, bool in_place,
                                      const EnqueueOptions* options, detail::Enqueued* ids,
                                      std::size_t& done) noexcept override {
    for (done = 0; done < payloads.size(); ++done) {
      ids[done] = enqueue(task, payloads[done], in_place, options);
      if (ids[done].error) return std::move(ids[done].error);
    }
    return nullptr;
  }
  Result<std::unique_ptr<detail::LoanedSlot>> loan(const TaskInfo& task, std::size_t payload_bytes, bool in_place,
                                                   const EnqueueOptions* options) noexcept override {
    if (payload_bytes > shm::kMaxPayloadBytes)
      return api::refusal(engine::EnqueueStatus::kTooLarge, task, payload_bytes);
    return std::unique_ptr<detail::LoanedSlot>(
        std::make_unique<HeapLoan>(*this, task, payload_bytes, in_place, options));
  }

 protected:
  TaskId next_id() { return TaskId::make(kNoSegment, ++count_, 1); }
  static std::unique_ptr<Error> check(const TaskInfo& task, BytesView payload) {
    if (auto good = api::check_task(task); !good) return api::boxed(good.error());
    if (payload.size() > shm::kMaxPayloadBytes)
      return api::boxed(api::refusal(engine::EnqueueStatus::kTooLarge, task, payload.size()));
    return nullptr;
  }

 private:
  class HeapLoan final : public detail::LoanedSlot {
   public:
    HeapLoan(MemoryPort& port, const TaskInfo& task, std::size_t bytes, bool in_place, const EnqueueOptions* options)
        : port_(port), task_(task), payload_(bytes), in_place_(in_place) {
      if (options != nullptr) options_ = *options;
    }
    std::span<std::byte> payload() noexcept override { return payload_; }
    detail::Enqueued publish() noexcept override { return port_.enqueue(task_, payload_, in_place_, &options_); }

   private:
    MemoryPort& port_;
    TaskInfo task_;
    Bytes payload_;
    bool in_place_;
    EnqueueOptions options_;
  };

  std::uint32_t count_ = 0;
};

class RecorderPort final : public MemoryPort {
 public:
  explicit RecorderPort(std::shared_ptr<std::vector<RecordedTask>> records) : records_(std::move(records)) {}

  detail::Enqueued enqueue(const TaskInfo& task, BytesView payload, bool,
                           const EnqueueOptions* options) noexcept override {
    if (auto refused = check(task, payload)) return {{}, false, std::move(refused)};
    RecordedTask r;
    r.id = next_id();
    r.task = task.name;
    if (options != nullptr) r.options = *options;
    r.queue = !r.options.queue.empty()     ? r.options.queue
              : task.options.queue.empty() ? api::default_queue()
                                           : std::string(task.options.queue);
    r.payload.assign(payload.begin(), payload.end());
    records_->push_back(std::move(r));
    return {records_->back().id, false, nullptr};
  }
  Result<detail::Finished> wait(TaskId id, Duration) noexcept override { return api::timed_out(id); }
  Result<TaskState> state(TaskId) noexcept override { return TaskState::kQueued; }
  Result<std::optional<Progress>> progress(TaskId) noexcept override { return std::optional<Progress>(); }
  Result<TaskState> revoke(TaskId id, bool) noexcept override {
    std::erase_if(*records_, [id](const RecordedTask& r) { return r.id == id; });
    return TaskState::kCancelled;
  }

 private:
  std::shared_ptr<std::vector<RecordedTask>> records_;
};

}  // namespace

Recorder::Recorder()
    : records_(std::make_shared<std::vector<RecordedTask>>()), client_(std::make_unique<RecorderPort>(records_)) {}

std::string Recorder::missing(std::string_view task) const {
  std::string text = "no enqueue of \"" + std::string(task) + "\" matches";
  if (records_->empty()) return text + "; nothing was enqueued";
  text += "; enqueued were:";
  for (const RecordedTask& r : *records_) text += "\n  " + r.task + " (" + std::to_string(r.payload.size()) + " bytes)";
  return text;
}

Expectation Recorder::expect_nothing_enqueued() const {
  if (records_->empty()) return {true, {}};
  return {false, missing("nothing")};
}

struct Inline::State {
  std::map<std::string, detail::RawHandler, std::less<>> handlers;
  std::map<std::uint64_t, detail::Finished> finished;
};

namespace {

using Handlers = std::map<std::string, detail::RawHandler, std::less<>>;

class InlinePort final : public MemoryPort {
 public:
  InlinePort(Handlers& handlers, std::map<std::uint64_t, detail::Finished>& finished, std::shared_ptr<void> keep)
      : handlers_(handlers), finished_(finished), keep_(std::move(keep)) {}

  detail::Enqueued enqueue(const TaskInfo& task, BytesView payload, bool in_place,
                           const EnqueueOptions* options) noexcept override;
  Result<detail::Finished> wait(TaskId id, Duration) noexcept override {
    const auto found = finished_.find(id.handle);
    return found == finished_.end() ? detail::Finished{} : found->second;
  }
  Result<TaskState> state(TaskId id) noexcept override { return wait(id, {})->state; }
  Result<std::optional<Progress>> progress(TaskId) noexcept override { return std::optional<Progress>(); }
  Result<TaskState> revoke(TaskId id, bool) noexcept override {
    return Error{Errc::kRefused, "task " + to_string(id) + " is over already"};
  }

 private:
  Handlers& handlers_;
  std::map<std::uint64_t, detail::Finished>& finished_;
  std::shared_ptr<void> keep_;
};

class InlineContext final : public detail::ContextBackend {
 public:
  InlineContext(InlinePort& port, TaskId id, const TaskInfo& task, const EnqueueOptions& options)
      : port_(port), id_(id), task_(task), options_(options) {
    if (!options.headers.empty()) headers_ = nlohmann::json(options.headers).dump();
    queue_ = !options.queue.empty()       ? options.queue
             : task.options.queue.empty() ? api::default_queue()
                                          : std::string(task.options.queue);
  }
  TaskId id() const override { return id_; }
  std::string_view task_name() const override { return task_.name; }
  std::string_view queue() const override { return queue_; }
  std::uint32_t attempt() const override { return 0; }
  std::uint32_t max_retries() const override {
    return static_cast<std::uint32_t>(
        options_.max_retries.value_or(task_.options.max_retries.value_or(api::default_max_retries())));
  }
  std::string_view headers_json() const override { return headers_; }
  std::string_view meta_json() const override { return options_.meta; }
  std::string_view idempotency_key() const override { return options_.idempotency_key; }
  std::int64_t deadline_ns() const override { return 0; }
  std::stop_token stop_token() const override { return {}; }
  bool heartbeat() override { return true; }
  bool extend_lease(Duration) override { return true; }
  bool progress(double, std::string_view) override { return true; }
  detail::Enqueued enqueue(const TaskInfo& task, BytesView payload, bool in_place,
                           const EnqueueOptions* options) override {
    return port_.enqueue(task, payload, in_place, options);
  }

 private:
  InlinePort& port_;
  TaskId id_;
  const TaskInfo& task_;
  const EnqueueOptions& options_;
  std::string headers_;
  std::string queue_;
};

detail::Finished finished_of(detail::Answer answer) {
  using Kind = detail::Answer::Kind;
  detail::Finished end;
  if (answer.kind == Kind::kValue) {
    end.state = TaskState::kSucceeded;
    const auto bytes = std::as_bytes(std::span(answer.result));
    end.result.assign(bytes.begin(), bytes.end());
    return end;
  }
  if (answer.kind == Kind::kBadPayload) return {TaskState::kDead, {}, "payload-invalid", answer.message};
  switch (answer.verdict.kind) {
    case Verdict::Kind::kDiscard: return {TaskState::kCancelled, {}, "discarded", answer.verdict.reason};
    case Verdict::Kind::kFail: return {TaskState::kDead, {}, "failed", answer.verdict.reason};
    case Verdict::Kind::kRetry:
      return {TaskState::kDead, {}, "retry", "asked to be retried, and inline there is one attempt"};
    case Verdict::Kind::kSnooze: break;
  }
  return {TaskState::kDead, {}, "snooze", "asked to run later, and inline there is one attempt"};
}

detail::Enqueued InlinePort::enqueue(const TaskInfo& task, BytesView payload, bool,
                                     const EnqueueOptions* options) noexcept {
  static const EnqueueOptions none;
  if (auto refused = check(task, payload)) return {{}, false, std::move(refused)};
  const TaskId id = next_id();
  detail::Finished& end = finished_[id.handle];
  const auto handler = handlers_.find(task.name);
  if (handler == handlers_.end()) {
    end = {TaskState::kDead, {}, "unregistered-task", "no handler for \"" + std::string(task.name) + "\""};
    return {id, false, nullptr};
  }
  try {
    InlineContext backend(*this, id, task, options == nullptr ? none : *options);
    Context context(backend);
    end = finished_of(handler->second(context, payload));
  } catch (const std::exception& e) {
    end = {TaskState::kDead, {}, api::error_kind(e), e.what()};
  } catch (...) {
    end = {TaskState::kDead, {}, "exception", "an exception without a message"};
  }
  return {id, false, nullptr};
}

}  // namespace

Inline::Inline() : Inline(std::make_shared<State>()) {}
Inline::Inline(std::shared_ptr<State> state)
    : state_(state), client_(std::make_unique<InlinePort>(state->handlers, state->finished, state)) {}
void Inline::add(std::string name, detail::RawHandler handler) {
  state_->handlers[std::move(name)] = std::move(handler);
}

}  // namespace stem::testing
