// Pieces of work that a process is killed or stopped in, each task with a number and each step of its life on record.
#pragma once

#include <functional>
#include <string>

#include "tests/every_instruction/every_instruction.hpp"
#include "tests/support/ledger.hpp"

namespace stem::engine {

using test::Entry;
using test::Ledger;

struct Scenario {
  const char* name;
  // In the judge's process, at full speed.
  std::function<void(World&, Ledger&)> setup;
  // In the process that is stepped: what it does first at full speed, and then one instruction after the other.
  std::function<std::function<void()>(World&, Attached&, Ledger&)> work;
  std::uint64_t stride = 25;  // the quick set looks at every so many-th change
};

const std::vector<Scenario>& scenarios();

// Every number that was accepted was acknowledged once, is a dead letter, or was cancelled; none was invented; and
// the segment's own counters say the same. `killed`: the process may have been cut off between a change and its
// record. Drains the world.
void expect_all_accounted_for(World& world, const Ledger& ledger, bool killed,
                              const std::map<std::uint64_t, int>& drained_before = {});

// What others do about a process that stands still: by its silence its leases end, and they take the tasks.
class Successors {
 public:
  explicit Successors(World& world) : world_(world) {}
  // Claims everything and holds it, until settle().
  void take_over();
  // The same, and ends it; then fills every free slot with tasks of another queue.
  void take_over_and_reuse();
  // Ends what is held: it is theirs, whatever the one who was continued has done.
  void settle();
  // Numbers and how often they ended; without the other queue's.
  const std::map<std::uint64_t, int>& ended() const { return ended_; }
  static constexpr std::uint64_t kReused = 900;  // the first number of the other queue

 private:
  struct Held {
    Lease lease;
    TaskView view;
  };
  void wait_out_leases();
  World& world_;
  std::vector<std::unique_ptr<Held>> held_;
  std::map<std::uint64_t, int> ended_;
  std::uint32_t other_queue_ = 0;
};

// How much is asked for: every change in the full set, a sample in the quick one (STEM_EVERY_INSTRUCTION=full).
std::uint64_t every_nth(std::uint64_t quick);

}  // namespace stem::engine
