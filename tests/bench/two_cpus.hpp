// The first two processors that this program may use.
#pragma once

#include <vector>

#include "bench/processes.hpp"

namespace stem::bench {

inline CpuPair two_cpus() {
  const std::vector<int> cpus = allowed_cpus();
  return {cpus.at(0), cpus.at(1)};
}

}  // namespace stem::bench
