// Inputs for a fuzz target where no libFuzzer steers them: those that are kept, and changes of them from a seed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.hpp"

namespace stem::fuzz {

using Sample = std::vector<std::uint8_t>;

std::vector<Sample> read_corpus(const std::filesystem::path& directory);

// One or a few changes of one of the samples, sometimes joined with another. New bytes come from `alphabet`, or are
// anything when it is empty.
Sample mutated(const std::vector<Sample>& samples, std::string_view alphabet, base::Random& random);

}  // namespace stem::fuzz
