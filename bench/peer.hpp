// Other queues that do the same work, and Stem beside them.
//
// The work: a producer process hands over `tasks` payloads, a consumer process takes each, checks it and
// acknowledges it. Timed from the moment both are connected and start until the last acknowledgement has
// been answered. Afterwards the queue must be empty, and every task must have come exactly once.
//
// To add a subject: a function `Peer NAME()` in a file of its own, declared below, and a line in
// all_peers() in peers_command.cpp. Set `is_subject` for Stem itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench/processes.hpp"

namespace stem::bench {

struct Work {
  std::uint64_t tasks = 100'000;
  std::uint32_t payload_bytes = 64;  // at least kLeastPayloadBytes
  std::uint64_t first = 0;           // number of the first task
  // Of peers that write to disk: who hand over, each its share, and how many at once; each waits for the answers.
  std::uint32_t producers = 1;
  std::uint32_t batch = 100;
  CpuPair cpus;
  bool pin = false;  // producer on cpus.first, consumer on cpus.second; a server is never pinned
};

struct PeerResult {
  std::string name;
  std::uint64_t tasks = 0;
  double seconds = 0;
  double tasks_per_s = 0;
};

struct Peer {
  std::string key;   // stable, for JSON and --only
  std::string name;  // for people
  std::string how;   // the commands used, for people
  bool acknowledges = true;
  bool is_subject = false;
  std::function<std::string()> missing;  // why it cannot be measured here; empty = it can
  std::function<PeerResult(const Work&)> run;
};

std::vector<Peer> stem_subjects();
std::vector<Peer> federation_subjects();
std::vector<Peer> redis_peers();
std::vector<Peer> beanstalkd_peers();
std::vector<Peer> bullmq_peers();
std::vector<Peer> celery_peers();
std::vector<Peer> all_peers();

// ---- What every peer's two processes need --------------------------------------------------------

inline constexpr std::uint32_t kLeastPayloadBytes = 16;

// Fills a payload that says which task it is.
void write_payload(std::uint64_t task, std::span<char> payload);

// Marks off each task as it comes.
class TaskLedger {
 public:
  TaskLedger(std::uint64_t tasks, std::uint32_t payload_bytes);
  // Throws Failure for a payload that was never sent, or came before.
  void mark(std::string_view payload);
  std::uint64_t seen() const noexcept { return seen_; }

 private:
  std::vector<bool> marked_;
  std::uint32_t payload_bytes_;
  std::uint64_t seen_ = 0;
};

// Runs both sides and times them. Each side is a function that connects and returns the work itself, so
// that connecting is not timed. `companions` run beside them, and end when the sides have ended.
using Side = std::function<std::function<void()>()>;
PeerResult run_sides(const std::string& name, const Work& work, const Side& producer, const Side& consumer,
                     std::chrono::milliseconds deadline = std::chrono::minutes(5),
                     const std::vector<Role>& companions = {});
// With several producers, of which none is pinned.
PeerResult run_sides(const std::string& name, const Work& work, const std::vector<Side>& producers,
                     const Side& consumer, std::chrono::milliseconds deadline = std::chrono::minutes(5),
                     const std::vector<Role>& companions = {});
// A producer for each share of the work, made from that.
std::vector<Side> shared_out(const Work& work, const std::function<std::function<void()>(const Work& share)>& producer);

}  // namespace stem::bench
