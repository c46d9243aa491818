// The producer's side of Stem in the comparison with peers: on one host, and between hosts.
#pragma once

#include <cstdint>

#include "bench/peer.hpp"
#include "bench/scene.hpp"

namespace stem::bench {

// All tasks of the work, `batch` at a time. Throws Failure when one is not accepted.
void produce_stem(Seat& seat, const Work& work, std::uint32_t batch);

}  // namespace stem::bench
