#include "observer.hpp"

#include <algorithm>
#include <stdexcept>

#include "shm/participant.hpp"
#include "shm/segment.hpp"

namespace engine = stem::engine;
namespace shm = stem::shm;

Observer::Observer(const std::string& name_space) {
  auto segment = shm::Segment::attach(name_space);
  if (!segment) throw std::runtime_error(segment.error().message);
  auto participant = shm::Participant::join(*segment, {shm::Role::kTool, "observer"});
  if (!participant) throw std::runtime_error(participant.error().message);
  participant_ = std::move(*participant);
  engine_ = std::make_unique<engine::Engine>(*participant_);
}

Observer::~Observer() = default;

std::vector<engine::WorkerStats> Observer::workers() const {
  auto all = engine::Query(*engine_).workers();
  std::erase_if(all, [](const engine::WorkerStats& w) {
    return w.role != shm::Role::kWorker || w.state != shm::RowState::kLive || w.signalled_dead;
  });
  return all;
}

engine::QueueStats Observer::queue(const std::string& name) const {
  for (engine::QueueStats& q : engine::Query(*engine_).queues())
    if (q.name == name) return std::move(q);
  return {};
}

engine::TaskNameStats Observer::task(const std::string& name) const {
  for (engine::TaskNameStats& t : engine::Query(*engine_).task_names())
    if (t.name == name) return std::move(t);
  return {};
}
