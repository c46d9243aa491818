// Both sides of Stem in the comparison with peers: on one host, between hosts, and with a journal.
#pragma once

#include <cstdint>

#include "bench/peer.hpp"
#include "bench/scene.hpp"

namespace stem::bench {

// All tasks of the work, `batch` at a time. Throws Failure when one is not accepted.
void produce_stem(Seat& seat, const Work& work, std::uint32_t batch);
// Takes, checks and acknowledges them all. Throws Failure when one is lost, or left over. `naps`: for 20 us when there is
// nothing, as a worker process parks; else it looks again and again.
void consume_stem(Seat& seat, const Work& work, bool naps = false);

}  // namespace stem::bench
