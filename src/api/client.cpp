#include "stem/client.hpp"

#include <atomic>
#include <cstdlib>
#include <mutex>

#include "api/attachments.hpp"
#include "api/segment_port.hpp"
#include "api/waiting.hpp"
#include "journal/expect.hpp"

namespace stem {
namespace api {
namespace {

std::atomic<std::uint64_t> next_serial{1};

shm::SegmentOptions segment_options(std::string_view name_space, const ClientOptions& options) {
  shm::SegmentOptions o;
  o.name_space = name_space;
  o.directory = options.directory;
  if (options.task_capacity != 0) o.slot_count = options.task_capacity;
  if (options.participant_capacity != 0) o.participant_count = options.participant_capacity;
  if (options.payload_capacity_bytes != 0) o.block_bytes = options.payload_capacity_bytes;
  return o;
}

// Held across a fork, so that no child starts with it locked by a thread that it does not have.
std::mutex& attach_mutex() {
  static std::mutex mutex;
  static const int registered =
      ::pthread_atfork([] { attach_mutex().lock(); }, [] { attach_mutex().unlock(); }, [] { attach_mutex().unlock(); });
  (void)registered;
  return mutex;
}

}  // namespace

SegmentPort::SegmentPort(std::shared_ptr<shm::Segment> segment, shm::SegmentOptions options)
    : serial_(next_serial.fetch_add(1, std::memory_order_relaxed)),
      alive_(std::make_shared<int>(0)),
      segment_(std::move(segment)),
      segment_generation_(fork_generation()),
      options_(std::move(options)) {}

SegmentPort::~SegmentPort() { drop_attachment(serial_); }

Result<std::unique_ptr<SegmentPort>> SegmentPort::open(const shm::SegmentOptions& options, bool create) {
  (void)attach_mutex();  // registers its fork handlers before the first thread can need them
  auto segment =
      create ? journal::open_or_create(options) : shm::Segment::attach(options.name_space, options.directory);
  if (!segment) return segment.error();
  return std::make_unique<SegmentPort>(std::move(*segment), options);
}

Result<std::shared_ptr<shm::Segment>> SegmentPort::segment() {
  const std::lock_guard lock(attach_mutex());
  if (segment_generation_ != fork_generation()) {  // in a forked child the mapping is not there
    auto anew = shm::Segment::attach(options_.name_space, options_.directory);
    if (!anew) return anew.error().within("attaching anew after a fork");
    segment_ = std::move(*anew);
    segment_generation_ = fork_generation();
  }
  return segment_;
}

Result<Attachment*> SegmentPort::attach() noexcept {
  try {
    auto mapped = segment();
    if (!mapped) return mapped.error();
    auto participant = shm::Participant::join(*mapped, {shm::Role::kClient, "client"});
    if (!participant) return participant.error();
    return keep_attachment(serial_, alive_, std::make_unique<Attachment>(std::move(*participant)));
  } catch (const std::bad_alloc&) {
    return Error{Errc::kNoMemory, "this process has no memory left"};
  }
}

Result<Attachment*> SegmentPort::attachment() noexcept {
  if (Attachment* mine = find_attachment(serial_)) [[likely]]
    return mine;
  return attach();
}

// Runs `call(attachment, detached)`; when the answer is that this participant was taken for dead (it was
// stopped for long, say), attaches anew and tries once more.
template <class Answer, class Call>
Answer SegmentPort::with_attachment(Call call) noexcept {
  for (int attempt = 0;; ++attempt) {
    Attachment* mine = find_attachment(serial_);
    if (mine == nullptr) [[unlikely]] {
      auto made = attach();
      if (!made) return Answer{made.error()};
      mine = *made;
    }
    bool detached = false;
    Answer answer = call(*mine, detached);
    if (!detached || attempt > 0) [[likely]]
      return answer;
    drop_attachment(serial_);
  }
}

namespace {

struct EnqueuedAnswer {
  explicit EnqueuedAnswer(const Error& error) : enqueued{{}, false, boxed(error)} {}
  explicit EnqueuedAnswer(detail::Enqueued e) : enqueued(std::move(e)) {}
  detail::Enqueued enqueued;
};

struct ErrorAnswer {
  explicit ErrorAnswer(const Error& e) : error(boxed(e)) {}
  explicit ErrorAnswer(std::unique_ptr<Error> e) : error(std::move(e)) {}
  std::unique_ptr<Error> error;
};

}  // namespace

detail::Enqueued SegmentPort::enqueue(const TaskInfo& task, BytesView payload, bool in_place,
                                      const EnqueueOptions* options) noexcept {
  if (Attachment* mine = find_attachment(serial_)) [[likely]] {
    bool detached = false;
    detail::Enqueued made = mine->producer().enqueue(task, payload, in_place, options, detached);
    if (!detached) [[likely]]
      return made;
  }
  return with_attachment<EnqueuedAnswer>([&](Attachment& a, bool& detached) {
           return EnqueuedAnswer(a.producer().enqueue(task, payload, in_place, options, detached));
         })
      .enqueued;
}

std::unique_ptr<Error> SegmentPort::enqueue_many(const TaskInfo& task, std::span<const BytesView> payloads,
                                                 bool in_place, const EnqueueOptions* options, detail::Enqueued* ids,
                                                 std::size_t& done) noexcept {
  std::size_t before = 0;  // accepted before this participant was taken for dead
  auto error = with_attachment<ErrorAnswer>([&](Attachment& a, bool& detached) {
                 std::size_t more = 0;
                 ErrorAnswer answer(a.producer().enqueue_many(task, payloads.subspan(before), in_place, options,
                                                              ids + before, more, detached));
                 before += more;
                 return answer;
               }).error;
  done = before;
  return error;
}

Result<std::unique_ptr<detail::LoanedSlot>> SegmentPort::loan(const TaskInfo& task, std::size_t payload_bytes,
                                                              bool in_place, const EnqueueOptions* options) noexcept {
  return with_attachment<Result<std::unique_ptr<detail::LoanedSlot>>>([&](Attachment& a, bool& detached) {
    return a.producer().loan(task, payload_bytes, in_place, options, detached);
  });
}

Result<detail::Finished> SegmentPort::wait(TaskId id, Duration timeout) noexcept {
  auto mine = attachment();
  if (!mine) return mine.error();
  return wait_for_end((*mine)->engine(), id, timeout.count());
}

Result<TaskState> SegmentPort::state(TaskId id) noexcept {
  auto mine = attachment();
  if (!mine) return mine.error();
  return task_state((*mine)->engine(), id);
}

Result<std::optional<Progress>> SegmentPort::progress(TaskId id) noexcept {
  auto mine = attachment();
  if (!mine) return mine.error();
  return task_progress((*mine)->engine(), id);
}

Result<TaskState> SegmentPort::revoke(TaskId id, bool terminate) noexcept {
  auto mine = attachment();
  if (!mine) return mine.error();
  return revoke_task((*mine)->engine(), id, terminate, base::monotonic_ns());
}

}  // namespace api

Result<Client> Client::open(std::string_view name_space, const ClientOptions& options) {
  const char* from_environment = std::getenv("STEM_NAMESPACE");
  if (name_space.empty())
    name_space = from_environment != nullptr && *from_environment != '\0' ? from_environment : "stem";
  auto port = api::SegmentPort::open(api::segment_options(name_space, options), options.create);
  if (!port) return port.error();
  return Client(std::move(*port));
}

Result<void> Client::destroy(std::string_view name_space, const std::string& directory) {
  return shm::Segment::destroy(std::string(name_space), directory);
}

}  // namespace stem
