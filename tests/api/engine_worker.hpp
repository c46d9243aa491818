// A worker made of one thread and the engine alone: what a client's tests need on the other side.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "base/clock.hpp"
#include "engine/engine.hpp"
#include "shm/names.hpp"
#include "shm/participant.hpp"

namespace stem::api_tests {

class EngineWorker {
 public:
  // Gives the result's bytes for a payload.
  using Body = std::function<std::string(const engine::TaskView&)>;

  EngineWorker(std::string name_space, std::string queue, Body body)
      : thread_(
            [this, ns = std::move(name_space), q = std::move(queue), run = std::move(body)] { serve(ns, q, run); }) {}
  ~EngineWorker() {
    stop_ = true;
    thread_.join();
  }
  int done() const { return done_; }

 private:
  void serve(const std::string& name_space, const std::string& queue, const Body& body) {
    auto segment = shm::Segment::attach(name_space);
    ASSERT_TRUE(segment.ok());
    auto self = shm::Participant::join(*segment, {shm::Role::kWorker, "test"});
    ASSERT_TRUE(self.ok());
    engine::Engine e(**self);
    const auto id = shm::intern_queue(**segment, queue);
    ASSERT_TRUE(id.ok());
    while (!stop_) {
      engine::Lease lease;
      if (e.claim(*id, &lease, 1, base::monotonic_ns()) == 0) {
        std::this_thread::yield();
        continue;
      }
      engine::TaskView view;
      if (!e.view(lease, view) || e.begin(lease, view, base::monotonic_ns()) != engine::Begin::kStart) continue;
      const std::string result = body(view);
      ++done_;
      (void)e.succeed(lease, view, std::as_bytes(std::span(result)), base::monotonic_ns());
    }
  }

  std::atomic<bool> stop_{false};
  std::atomic<int> done_{0};
  std::thread thread_;
};

}  // namespace stem::api_tests
