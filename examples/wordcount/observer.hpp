// Looks into the segment from outside, as `stem worker status` and `stem observe` do.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/query.hpp"

class Observer {
 public:
  explicit Observer(const std::string& name_space);
  ~Observer();

  // Worker processes that live.
  std::vector<stem::engine::WorkerStats> workers() const;
  stem::engine::QueueStats queue(const std::string& name) const;
  stem::engine::TaskNameStats task(const std::string& name) const;

 private:
  std::unique_ptr<stem::shm::Participant> participant_;
  std::unique_ptr<stem::engine::Engine> engine_;
};
