// Log-linear histogram buckets: eight per octave, so that any value is known within 12.5 %.
// Pure functions of a bucket index; where the counts live is the caller's business (shared memory has
// one writer per histogram).
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>

namespace stem::base {

inline constexpr int kHistogramSubBits = 3;
inline constexpr std::uint32_t kHistogramBuckets = 320;  // up to 2^42 ns, 73 minutes; the last takes the rest

// The bucket of a value in nanoseconds; negative counts as zero.
constexpr std::uint32_t histogram_bucket(std::int64_t value_ns) noexcept {
  if (value_ns < 8) return value_ns < 0 ? 0 : static_cast<std::uint32_t>(value_ns);
  const auto value = static_cast<std::uint64_t>(value_ns);
  const int octave = std::bit_width(value) - 1 - kHistogramSubBits;  // >= 0
  const auto sub = static_cast<std::uint32_t>((value >> octave) & 7);
  const auto bucket = static_cast<std::uint32_t>(octave + 1) * 8 + sub;
  return bucket < kHistogramBuckets ? bucket : kHistogramBuckets - 1;
}

// The smallest value of a bucket.
constexpr std::int64_t histogram_lower_bound_ns(std::uint32_t bucket) noexcept {
  if (bucket < 8) return bucket;
  const std::uint32_t octave = bucket / 8 - 1;
  return static_cast<std::int64_t>(8 + bucket % 8) << octave;
}

struct HistogramSummary {
  std::uint64_t count = 0;
  double mean_ns = 0;
  std::array<std::uint64_t, kHistogramBuckets> counts{};

  void add(std::span<const std::uint64_t> other) noexcept {
    for (std::size_t i = 0; i < counts.size() && i < other.size(); ++i) {
      counts[i] += other[i];
      count += other[i];
    }
  }

  // The value below which `fraction` of the samples lie (bucket middle); 0 when empty.
  [[nodiscard]] std::int64_t percentile_ns(double fraction) const noexcept {
    if (count == 0) return 0;
    const auto rank = static_cast<std::uint64_t>(fraction * static_cast<double>(count - 1));
    std::uint64_t seen = 0;
    for (std::uint32_t i = 0; i < kHistogramBuckets; ++i) {
      seen += counts[i];
      if (seen > rank) {
        const std::int64_t low = histogram_lower_bound_ns(i);
        const std::int64_t high = i + 1 < kHistogramBuckets ? histogram_lower_bound_ns(i + 1) : low;
        return low + (high - low) / 2;
      }
    }
    return histogram_lower_bound_ns(kHistogramBuckets - 1);
  }
};

}  // namespace stem::base
