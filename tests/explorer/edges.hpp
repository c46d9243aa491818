// The named orders of docs/memory-ordering.md: where they stand in the sources, and the scene that fails without them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "machine.hpp"

namespace explorer {

// One operation, by a piece of its text: the only place in the file that has it, or `nth` of several (from 0).
struct Place {
  std::string_view file;
  std::string_view text;
  int nth = 0;
};

// These places together are made relaxed, and the scene must fail.
struct Edge {
  std::string_view name;   // several may have one, with different scenes
  std::string_view scene;  // empty: none can show it
  std::vector<Place> places;
};

const std::vector<Edge>& edges();

// The lines of these places in the sources. Throws std::runtime_error when one of them is not there.
std::vector<Weakened> lines_of(const std::vector<Place>& places);

}  // namespace explorer
