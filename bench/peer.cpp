#include "bench/peer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "bench/failure.hpp"
#include "bench/measure.hpp"

namespace stem::bench {

namespace {

constexpr std::size_t kLetters = 26;
constexpr std::size_t kPiece = kLetters * 40;

// The alphabet over and over: a piece of kPiece from any of the first kLetters places.
constexpr auto kAlphabets = [] {
  std::array<char, kPiece + kLetters> text{};
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % kLetters);
  return text;
}();

// Where the letters of a task's payload begin. They are copied and compared, not computed one by one, which would take
// longer than the quickest of the systems takes with the task.
const char* letters_of(std::uint64_t task) { return kAlphabets.data() + (task + sizeof task) % kLetters; }

}  // namespace

void write_payload(std::uint64_t task, std::span<char> payload) {
  std::memcpy(payload.data(), &task, sizeof task);
  for (std::size_t at = sizeof task; at < payload.size(); at += kPiece)
    std::memcpy(payload.data() + at, letters_of(task), std::min(kPiece, payload.size() - at));
}

static bool is_payload_of(std::uint64_t task, std::string_view payload) {
  for (std::size_t at = sizeof task; at < payload.size(); at += kPiece)
    if (std::memcmp(payload.data() + at, letters_of(task), std::min(kPiece, payload.size() - at)) != 0) return false;
  return true;
}

TaskLedger::TaskLedger(std::uint64_t tasks, std::uint32_t payload_bytes)
    : marked_(tasks), payload_bytes_(payload_bytes) {}

void TaskLedger::mark(std::string_view payload) {
  std::uint64_t task = 0;
  if (payload.size() != payload_bytes_) {
    throw Failure(fmt::format("a payload of {} bytes came, {} were sent", payload.size(), payload_bytes_));
  }
  std::memcpy(&task, payload.data(), sizeof task);
  if (task >= marked_.size()) throw Failure(fmt::format("task {} came, which was never sent", task));
  if (!is_payload_of(task, payload)) {
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
