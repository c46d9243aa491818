// Hosts of the federation's figures: a scene each, joined by real gateway processes over a Redis of the bench's own;
// and what is read off them: rates, processor time, memory.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/redis_client.hpp"
#include "bench/scene.hpp"
#include "bench/server_process.hpp"

namespace stem::bench {

inline constexpr const char* kBenchQueue = "bench";  // that of every Seat
inline constexpr const char* kStreamKey = "stem:stream:bench";
inline constexpr const char* kGroupKey = "stem:group:bench";

// Tasks of a host without limits: rates are of interest, not the worker's share.
inline constexpr std::uint32_t kGatewayPrefetch = 1024;

// `stem gateway start` from the directory of this program, for one host.
class GatewayProcess {
 public:
  struct Options {
    std::vector<std::string> exports;
    std::vector<std::string> imports;
    std::uint32_t prefetch = kGatewayPrefetch;
    std::uint32_t spin_us = 0;
    std::optional<std::uint32_t> niceness;  // as the gateway's own, when nothing is said
  };
  // Waits until Redis knows all its connections.
  GatewayProcess(const Scene& host, const RedisServer& redis, const Options& options);

  pid_t pid() const noexcept { return process_.pid(); }

 private:
  TemporaryDirectory directory_;
  std::size_t connections_before_;
  ServerProcess process_;
};

// Why the federation cannot be measured here; empty = it can.
std::string federation_missing();

// ---- what is read off them ------------------------------------------------------------------------

struct Flow {
  double tasks_per_s = 0;
  double own_cpu_ns = 0;    // of the gateway or the bare client, for each task
  double redis_cpu_ns = 0;  // of Redis, for each task
};

// The rate of something that goes from 0 to `total`: without its first twentieth, in which connections and memory
// warm up. Zero when it was over before that could be seen.
class FlowMeter {
 public:
  FlowMeter(std::uint64_t total, pid_t own, pid_t redis) : total_(total), pids_{own, redis} {}
  // `done` so far; true when that is all.
  bool count(std::uint64_t done);
  const Flow& flow() const noexcept { return flow_; }

 private:
  struct Mark {
    std::uint64_t done = 0;
    std::uint64_t ticks = 0;
    double cpu_ns[2] = {};
  };
  Mark mark(std::uint64_t done) const;

  std::uint64_t total_;
  pid_t pids_[2];
  bool started_ = false;
  Mark start_;
  Flow flow_;
};

// Processor time that a process has used.
double cpu_ns_of(pid_t pid);

void nap_us(long us);

struct Resident {
  std::uint64_t all_bytes = 0;  // with the pages of the segment that it has touched
  std::uint64_t own_bytes = 0;  // without them
};
Resident resident_of(pid_t pid);

// ---- the two ends ---------------------------------------------------------------------------------

// The payloads of the figures: MessagePack of {"n": number, "text": ...}, as typed tasks are.
inline constexpr std::uint32_t kLeastFederationPayloadBytes = 32;
std::string federation_payload(std::uint64_t number, std::uint32_t bytes);

// Enqueues [from, to) into a queue of the seat's segment; throws Failure when the segment refuses.
void enqueue_numbers(Seat& seat, std::uint32_t queue, std::uint64_t from, std::uint64_t to, std::uint32_t bytes);

// A worker process with quick handlers, until `stop` is set.
void serve(Seat& seat, const std::atomic<std::uint32_t>& stop, const std::function<void(const engine::TaskView&)>& run);

}  // namespace stem::bench
