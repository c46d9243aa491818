// The figures of stem-bench federation, each with the bare floor that it is held against.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bench/federation_host.hpp"
#include "bench/measure.hpp"
#include "bench/processes.hpp"

namespace stem::bench {

// ---- export and import (federation_flow.cpp) ---------------------------------------------------------

struct FlowShape {
  std::uint64_t tasks = 200'000;
  std::uint32_t payload_bytes = 64;
};

// Entries as the gateway writes them, taken from the stream once, so that the bare client sends the same.
class Stock {
 public:
  Stock(const RedisServer& redis, const FlowShape& shape);
  // The words of an XADD of task `number`; valid until the next call.
  const std::vector<std::string_view>& xadd(std::uint64_t number);

 private:
  std::vector<std::vector<std::string>> entries_;
  std::size_t id_at_ = 0;
  std::string id_;
  std::vector<std::string_view> words_;
};

Flow export_by_gateway(const RedisServer& redis, const FlowShape& shape);
Flow export_bare(const RedisServer& redis, const FlowShape& shape, Stock& stock);
Flow import_by_gateway(const RedisServer& redis, const FlowShape& shape, Stock& stock);
Flow import_bare(const RedisServer& redis, const FlowShape& shape, Stock& stock);

// ---- host to host (federation_start.cpp) --------------------------------------------------------------

struct HostToHost {
  Percentiles start;       // enqueue on one host -> handler on another
  Percentiles round_trip;  // PING of a bare client
};
// One task at a time, everything idle in between, but gateways that spin.
HostToHost host_to_host(const RedisServer& redis, std::uint64_t tasks, bool gateways_spin);
// The same way by programs that do nothing else, all asleep: futex, XADD, XREADGROUP that waits, futex.
HostToHost host_to_host_bare(const RedisServer& redis, std::uint64_t tasks, Stock& stock);

// ---- local work meanwhile (federation_local.cpp) --------------------------------------------------------

enum class Neighbour { kNone, kBareClient, kBusy, kBusyEqual, kRedisStopped };
struct LocalRate {
  Measured rate;                 // tasks that start and end here, the full life cycle
  double exported_per_s = 0;     // by the gateway beside it
  double gateway_cpu_share = 0;  // of one processor
};
LocalRate local_rate(CpuPair cpus, const RedisServer& redis, std::uint64_t tasks, Neighbour neighbour, Stock& stock);

// ---- a million tasks through both gateways (federation_passing.cpp) -------------------------------------

struct Passing {
  struct Sample {
    std::uint64_t tasks = 0;
    Resident exporting, importing;
  };
  std::vector<Sample> samples;  // at a tenth, the half, and the end
  double seconds = 0;
  std::uint64_t left_in_stream = 0;
  std::uint64_t left_pending = 0;
};
Passing pass_through(const RedisServer& redis, std::uint64_t tasks, std::uint32_t payload_bytes);

}  // namespace stem::bench
