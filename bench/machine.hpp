// The facts about this machine and build that a figure is worthless without.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace stem::bench {

struct MachineFact {
  std::string key;    // stable, for JSON
  std::string label;  // for people
  std::string value;  // "unknown" where the system does not say
};

std::vector<MachineFact> machine_facts();

// What the CPUs did while it lived, from /proc/stat: a busy neighbour explains a bad figure.
class CpuWatch {
 public:
  CpuWatch();

  struct Use {
    double others_percent = 0;  // of all CPU time: programs that this bench did not start
    double steal_percent = 0;   // of all CPU time: taken by the hypervisor
  };
  // Call after all children have been waited for: their time counts as our own only then.
  Use use() const;

 private:
  struct Sample {
    double busy_s = 0;
    double steal_s = 0;
    double total_s = 0;
    double own_s = 0;
  };
  static Sample sample();

  Sample start_;
};

}  // namespace stem::bench
