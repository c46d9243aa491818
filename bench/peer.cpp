#include "bench/peer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
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
  return run_sides(name, work, std::vector<Side>{producer}, consumer, deadline, companions);
}

PeerResult run_sides(const std::string& name, const Work& work, const std::vector<Side>& producers,
                     const Side& consumer, std::chrono::milliseconds deadline, const std::vector<Role>& companions) {
  struct Stage {
    StartGate gate;
    std::atomic<std::uint64_t> start_ticks{~std::uint64_t{0}};  // of the first of all
    std::uint64_t end_ticks = 0;                                // writer: consumer
    void start(std::uint32_t parties) noexcept {
      gate.arrive_and_wait(parties);
      const std::uint64_t now = ticks_now();
      std::uint64_t first = start_ticks.load();
      while (now < first && !start_ticks.compare_exchange_weak(first, now)) {
      }
    }
  };
  Shared<Stage> stage;
  const auto parties = static_cast<std::uint32_t>(producers.size() + 1);
  std::vector<Role> roles = companions;
  for (const Side& producer : producers)
    roles.push_back({work.pin && producers.size() == 1 ? work.cpus.first : kAnyCpu, [&stage, &producer, parties] {
                       const std::function<void()> produce = producer();
                       stage->start(parties);
                       produce();
                     }});
  roles.push_back({work.pin ? work.cpus.second : kAnyCpu, [&stage, &consumer, parties] {
                     const std::function<void()> consume = consumer();
                     stage->start(parties);
                     consume();
                     stage->end_ticks = ticks_now();
                   }});
  run_processes(roles, deadline);
  PeerResult result;
  result.name = name;
  result.tasks = work.tasks;
  result.seconds = static_cast<double>(stage->end_ticks - stage->start_ticks.load()) * ns_per_tick() * 1e-9;
  result.tasks_per_s = static_cast<double>(work.tasks) / result.seconds;
  return result;
}

std::vector<Side> shared_out(const Work& work,
                             const std::function<std::function<void()>(const Work& share)>& producer) {
  std::vector<Side> sides;
  for (std::uint64_t i = 0; i < work.producers; ++i) {
    Work share = work;
    share.first = work.first + work.tasks * i / work.producers;
    share.tasks = work.first + work.tasks * (i + 1) / work.producers - share.first;
    sides.push_back([producer, share] { return producer(share); });
  }
  return sides;
}

}  // namespace stem::bench
