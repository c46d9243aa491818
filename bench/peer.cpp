#include "bench/peer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "bench/failure.hpp"
#include "bench/measure.hpp"

namespace stem::bench {

void write_payload(std::uint64_t task, std::span<char> payload) {
  std::memcpy(payload.data(), &task, sizeof task);
  for (std::size_t i = sizeof task; i < payload.size(); ++i) {
    payload[i] = static_cast<char>('a' + (task + i) % 26);
  }
}

TaskLedger::TaskLedger(std::uint64_t tasks, std::uint32_t payload_bytes) : marked_(tasks), expected_(payload_bytes) {}

void TaskLedger::mark(std::string_view payload) {
  std::uint64_t task = 0;
  if (payload.size() != expected_.size()) {
    throw Failure(fmt::format("a payload of {} bytes came, {} were sent", payload.size(), expected_.size()));
  }
  std::memcpy(&task, payload.data(), sizeof task);
  if (task >= marked_.size()) throw Failure(fmt::format("task {} came, which was never sent", task));
  write_payload(task, expected_);
  if (std::memcmp(payload.data(), expected_.data(), expected_.size()) != 0) {
    throw Failure(fmt::format("task {} came with other bytes than were sent", task));
  }
  if (marked_[task]) throw Failure(fmt::format("task {} came twice", task));
  marked_[task] = true;
  ++seen_;
}

PeerResult run_sides(const std::string& name, const Work& work, const Side& producer, const Side& consumer,
                     std::chrono::milliseconds deadline, const std::vector<Role>& companions) {
  struct Stage {
    StartGate gate;
    std::uint64_t start_ticks[2] = {};  // of the producer and of the consumer, each by itself
    std::uint64_t end_ticks = 0;        // writer: consumer
  };
  Shared<Stage> stage;
  const auto first = [&] {
    const std::function<void()> produce = producer();
    stage->gate.arrive_and_wait(2);
    stage->start_ticks[0] = ticks_now();
    produce();
  };
  const auto second = [&] {
    const std::function<void()> consume = consumer();
    stage->gate.arrive_and_wait(2);
    stage->start_ticks[1] = ticks_now();
    consume();
    stage->end_ticks = ticks_now();
  };
  std::vector<Role> roles = companions;
  roles.push_back({work.pin ? work.cpus.first : kAnyCpu, first});
  roles.push_back({work.pin ? work.cpus.second : kAnyCpu, second});
  run_processes(roles, deadline);
  PeerResult result;
  result.name = name;
  result.tasks = work.tasks;
  const std::uint64_t start_ticks = std::min(stage->start_ticks[0], stage->start_ticks[1]);
  result.seconds = static_cast<double>(stage->end_ticks - start_ticks) * ns_per_tick() * 1e-9;
  result.tasks_per_s = static_cast<double>(work.tasks) / result.seconds;
  return result;
}

}  // namespace stem::bench
