// A small fast generator for jitter, probing and tests (splitmix64, Steele et al. 2014).
// Not for secrets. One per thread.
#pragma once

#include <cstdint>

namespace stem::base {

// The splitmix64 finaliser: a good 64-bit mixer of a single word.
constexpr std::uint64_t mix64(std::uint64_t z) noexcept {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept { return mix64(state_ += 0x9e3779b97f4a7c15ull); }

  // Uniform in [0, bound); 0 when bound is 0. The bias is below bound / 2^64.
  std::uint64_t below(std::uint64_t bound) noexcept {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }

 private:
  std::uint64_t state_;
};

}  // namespace stem::base
