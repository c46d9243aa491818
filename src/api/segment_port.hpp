// A client's way into a segment: the calling thread's attachment, made when it is needed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/attachments.hpp"
#include "shm/segment.hpp"
#include "stem/port.hpp"

namespace stem::api {

// Usable from many threads.
class SegmentPort final : public detail::Port {
 public:
  static Result<std::unique_ptr<SegmentPort>> open(const shm::SegmentOptions& options, bool create);
  SegmentPort(std::shared_ptr<shm::Segment> segment, shm::SegmentOptions options);
  ~SegmentPort() override;

  detail::Enqueued enqueue(const TaskInfo& task, BytesView payload, bool in_place,
                           const EnqueueOptions* options) noexcept override;
  std::unique_ptr<Error> enqueue_many(const TaskInfo& task, std::span<const BytesView> payloads, bool in_place,
                                      const EnqueueOptions* options, detail::Enqueued* ids,
                                      std::size_t& done) noexcept override;
  Result<std::unique_ptr<detail::LoanedSlot>> loan(const TaskInfo& task, std::size_t payload_bytes, bool in_place,
                                                   const EnqueueOptions* options) noexcept override;
  Result<detail::Finished> wait(TaskId id, Duration timeout) noexcept override;
  Result<TaskState> state(TaskId id) noexcept override;
  Result<std::optional<Progress>> progress(TaskId id) noexcept override;
  Result<TaskState> revoke(TaskId id, bool terminate) noexcept override;

 private:
  Result<std::shared_ptr<shm::Segment>> segment();
  Result<Attachment*> attach() noexcept;
  Result<Attachment*> attachment() noexcept;
  template <class Answer, class Call>
  Answer with_attachment(Call call) noexcept;

  const std::uint64_t serial_;
  const std::shared_ptr<int> alive_;  // other threads' attachments end when it has expired
  std::shared_ptr<shm::Segment> segment_;
  std::uint64_t segment_generation_;  // fork generation that mapped it
  const shm::SegmentOptions options_;
};

}  // namespace stem::api
