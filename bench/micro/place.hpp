// One attached thread with a segment of its own, for the micro-benchmarks of this program.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "base/clock.hpp"
#include "engine/engine.hpp"
#include "shm/names.hpp"

namespace stem::micro {

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(result).value();
}

class Place {
 public:
  Place() : directory_("/dev/shm/stem-micro-XXXXXX") {
    if (::mkdtemp(directory_.data()) == nullptr) throw std::runtime_error("no directory in /dev/shm");
    shm::SegmentOptions options;
    options.directory = directory_;
    segment_ = must(shm::Segment::create(options));
    std::filesystem::remove_all(directory_);  // the mapping is enough: one process only
    participant_ = must(shm::Participant::join(segment_, {shm::Role::kWorker, "micro"}));
    engine_ = std::make_unique<engine::Engine>(*participant_);
    spec.queue = must(shm::intern_queue(*segment_, "micro"));
    spec.task = must(shm::intern_task(*segment_, "micro.no-op"));
    spec.payload = payload_;
  }

  engine::Engine& engine() noexcept { return *engine_; }
  shm::Participant& participant() noexcept { return *participant_; }
  shm::Segment& segment() noexcept { return *segment_; }

  // Claims and succeeds one task that is there.
  void run_one(std::int64_t now_ns) {
    engine::Lease lease;
    engine::TaskView view;
    if (engine_->claim(spec.queue, &lease, 1, now_ns) != 1 || !engine_->view(lease, view) ||
        engine_->begin(lease, view, now_ns) != engine::Begin::kStart ||
        engine_->succeed(lease, view, {}, now_ns) != engine::Settled::kDone)
      throw std::runtime_error("a task did not run");
  }

  engine::TaskSpec spec;  // 64 bytes, inline

 private:
  std::string directory_;
  std::byte payload_[64] = {};
  std::shared_ptr<shm::Segment> segment_;
  std::unique_ptr<shm::Participant> participant_;
  std::unique_ptr<engine::Engine> engine_;
};

}  // namespace stem::micro
