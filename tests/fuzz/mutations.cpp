#include "mutations.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "targets.hpp"

namespace stem::fuzz {

void fail(std::string_view what) {
  std::fprintf(stderr, "fuzz: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

std::vector<Sample> read_corpus(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());  // the same order everywhere, so that a seed means the same
  std::vector<Sample> samples;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    samples.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return samples;
}

Sample mutated(const std::vector<Sample>& samples, std::string_view alphabet, base::Random& random) {
  constexpr std::size_t kMostBytes = 4096;
  const auto byte = [&] {
    if (alphabet.empty() || random.below(8) == 0) return static_cast<std::uint8_t>(random.next());
    return static_cast<std::uint8_t>(alphabet[random.below(alphabet.size())]);
  };
  const auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random.below(bound)); };
  Sample made = samples.empty() ? Sample{} : samples[below(samples.size())];
  for (std::uint64_t changes = 1 + random.below(6); changes > 0; --changes) {
    const std::size_t at = below(made.size() + 1);
    const auto here = made.begin() + static_cast<std::ptrdiff_t>(at);
    const std::size_t behind = made.size() - at;
    switch (random.below(7)) {
      case 0:
        if (behind > 0) *here = byte();
        break;
      case 1:
        if (behind > 0) *here = static_cast<std::uint8_t>(*here ^ 1u << random.below(8));
        break;
      case 2: made.erase(here, here + static_cast<std::ptrdiff_t>(std::min(behind, 1 + below(8)))); break;
      case 3: {
        Sample fresh(1 + below(12));
        std::generate(fresh.begin(), fresh.end(), byte);
        made.insert(here, fresh.begin(), fresh.end());
        break;
      }
      case 4: {  // a stretch of itself again
        const Sample again(here, here + static_cast<std::ptrdiff_t>(std::min(behind, 1 + below(32))));
        made.insert(made.end(), again.begin(), again.end());
        break;
      }
      case 5: {
        const Sample& other = samples.empty() ? made : samples[below(samples.size())];
        const Sample tail(other.begin() + static_cast<std::ptrdiff_t>(below(other.size() + 1)), other.end());
        made.erase(here, made.end());
        made.insert(made.end(), tail.begin(), tail.end());
        break;
      }
      default: made.insert(here, 1 + below(20), byte()); break;
    }
  }
  if (made.size() > kMostBytes) made.resize(kMostBytes);
  return made;
}

}  // namespace stem::fuzz
