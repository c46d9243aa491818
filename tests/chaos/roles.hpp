// The processes of a chaos run. Each is forked by the arena, attaches by itself, and may be killed or
// stopped at any instruction; what it did stands in its ledger.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "tests/support/ledger.hpp"

namespace stem::chaos {

// A recovery step that is left out on purpose, to see that the ledger notices.
enum class Canary { kNone, kLoseLeases, kIgnoreFence, kRunTwice, kForgetAccepted };

struct Options {
  double minutes = 1;
  double kills_per_second = 20;
  double stop_share = 0.25;  // of the strikes
  std::uint64_t seed = 1;
  std::uint32_t producers = 3;
  std::uint32_t workers = 6;
  std::uint32_t keepers = 2;
  double tasks_per_second = 10'000;
  double batch_share = 0.04;  // of the calls that enqueue
  double slow_share = 0.25;   // of the handlers
  std::string output = "stem-chaos-output";
  Canary canary = Canary::kNone;
};

// In memory that all processes share.
struct Switches {
  std::atomic<int> producing{1};  // 0: producers end
  std::atomic<int> working{1};    // 0: workers and keepers end
};

struct Role {
  const Options& options;
  Switches& switches;
  std::string directory;  // of the segment and the ledgers
  std::uint32_t index;    // which producer, worker, keeper
  std::uint64_t seed;     // another for each incarnation
  std::size_t ledger_capacity;

  std::string ledger_path(const char* kind) const { return directory + "/." + kind + "-" + std::to_string(index); }
};

inline constexpr const char* kNamespace = "chaos";
inline constexpr const char* kQueue = "work";
inline constexpr int kProducerBits = 34;  // task number: producer << 34 | count

// Exit codes of the roles; 0 = it was told to end.
int produce(const Role& role);
int work(const Role& role);
int keep(const Role& role);

}  // namespace stem::chaos
