// A side of a peer that is a program in another language: it connects, prints "ready", begins when a line comes, and
// prints "done" and how many tasks when all is over.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/peer.hpp"

namespace stem::bench {

// What these programs ask for: servers may take a second for a hundred tasks.
inline constexpr std::chrono::minutes kScriptDeadline{60};

// Full path of the program first. What it says on stderr becomes the Failure when it fails.
Side script_side(const std::string& name, std::vector<std::string> command, std::uint64_t tasks);

// Where the programs are: bench/peers/NAME of the sources.
std::string peer_directory(const std::string& name);

}  // namespace stem::bench
