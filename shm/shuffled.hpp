// The order in which unused slots and blocks are handed out: none that a processor could learn. In any regular one
// (up, down, by a stride, by two in turn) the hardware prefetcher of the core that works on what it was given asks for
// what comes next, and so takes the lines from the core that is about to fill them (docs/performance.md).
#pragma once

#include <cstdint>

namespace stem::shm {

// Calls `take(i)` once for each i below `count`.
template <class Take>
void shuffled(std::uint64_t count, Take take) {
  constexpr std::uint8_t kOrder[] = {15, 31, 4,  25, 16, 21, 9,  27, 10, 28, 6,  1,  17, 24, 14, 20,
                                     30, 7,  26, 8,  19, 11, 12, 0,  22, 2,  13, 23, 5,  18, 3,  29};
  for (std::uint64_t from = 0; from < count; from += sizeof kOrder)
    for (const std::uint8_t i : kOrder)
      if (from + i < count) take(from + i);
}

}  // namespace stem::shm
