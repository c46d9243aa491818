#include "bench/scene.hpp"

#include <cstdlib>
#include <filesystem>

#include "bench/failure.hpp"
#include "shm/names.hpp"

namespace stem::bench {

namespace {

template <class T>
T must(Result<T> result) {
  if (!result) throw Failure(result.error().message);
  return std::move(result).value();
}

}  // namespace

Scene::Scene(shm::SegmentOptions options) : directory_("/dev/shm/stem-bench-XXXXXX") {
  if (::mkdtemp(directory_.data()) == nullptr) fail_with_errno("make a directory in /dev/shm");
  options.directory = directory_;
  options.name_space = name_space_;
  auto made = shm::Segment::create(options);
  if (made) return;
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
  throw Failure(made.error().message);
}

Scene::~Scene() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::shared_ptr<shm::Segment> Scene::attach() const { return must(shm::Segment::attach(name_space_, directory_)); }

Seat::Seat(const Scene& scene, shm::Role role, const std::string& name)
    : segment_(scene.attach()),
      participant_(must(shm::Participant::join(segment_, {role, name}))),
      engine_(std::make_unique<engine::Engine>(*participant_)),
      queue_(must(shm::intern_queue(*segment_, "bench"))),
      task_(must(shm::intern_task(*segment_, "bench.no-op"))) {
  if (role == shm::Role::kWorker) participant_->row().serves_all.store(1, std::memory_order_relaxed);
}

}  // namespace stem::bench
