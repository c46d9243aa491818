// A segment of the bench's own, and the places of its processes in it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/engine.hpp"
#include "shm/participant.hpp"
#include "shm/segment.hpp"

namespace stem::bench {

// A segment in a private directory under /dev/shm; the destructor removes both. Processes made by fork
// reach it through attach(): mappings are not inherited.
class Scene {
 public:
  // `options.directory` and `.name_space` are set here.
  explicit Scene(shm::SegmentOptions options = {});
  ~Scene();
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  // A mapping of the caller's own; throws Failure when the segment refuses.
  std::shared_ptr<shm::Segment> attach() const;
  const std::string& directory() const noexcept { return directory_; }
  const std::string& name_space() const noexcept { return name_space_; }

 private:
  std::string directory_;
  std::string name_space_ = "bench";
};

// One thread's place: attached, joined, with an engine and the numbers of the one queue and task name that
// the benchmarks use. Destroyed on its own thread, it detaches.
class Seat {
 public:
  Seat(const Scene& scene, shm::Role role, const std::string& name);

  engine::Engine& engine() noexcept { return *engine_; }
  shm::Participant& participant() noexcept { return *participant_; }
  shm::Segment& segment() noexcept { return *segment_; }
  std::uint32_t queue() const noexcept { return queue_; }
  std::uint32_t task() const noexcept { return task_; }

 private:
  std::shared_ptr<shm::Segment> segment_;
  std::unique_ptr<shm::Participant> participant_;
  std::unique_ptr<engine::Engine> engine_;
  std::uint32_t queue_ = 0;
  std::uint32_t task_ = 0;
};

}  // namespace stem::bench
