#include "base/histogram.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/random.hpp"

namespace stem::base {
namespace {

TEST(Histogram, BucketsAreContiguousAndInOrder) {
  std::int64_t previous = -1;
  for (std::uint32_t b = 0; b < kHistogramBuckets; ++b) {
    const std::int64_t low = histogram_lower_bound_ns(b);
    ASSERT_GT(low, previous) << b;
    ASSERT_EQ(histogram_bucket(low), b);
    if (b > 0) {
      ASSERT_EQ(histogram_bucket(low - 1), b - 1);
    }
    previous = low;
  }
}

TEST(Histogram, AnyValueIsKnownWithinAnEighth) {
  Random random(1);
  for (int i = 0; i < 100'000; ++i) {
    const auto value = static_cast<std::int64_t>(random.next() >> (22 + random.below(40)));
    const std::uint32_t bucket = histogram_bucket(value);
    const std::int64_t low = histogram_lower_bound_ns(bucket);
    ASSERT_LE(low, value);
    if (bucket + 1 < kHistogramBuckets) {
      ASSERT_LT(value, histogram_lower_bound_ns(bucket + 1));
      ASSERT_LE(static_cast<double>(value - low), static_cast<double>(value) / 8.0 + 1);
    }
  }
}

TEST(Histogram, TheEdgesAreKept) {
  EXPECT_EQ(histogram_bucket(-5), 0u);
  EXPECT_EQ(histogram_bucket(0), 0u);
  EXPECT_EQ(histogram_bucket(INT64_MAX), kHistogramBuckets - 1);
}

TEST(Histogram, PercentilesLieWhereTheSamplesDo) {
  Random random(2);
  std::vector<std::uint64_t> counts(kHistogramBuckets);
  std::vector<std::int64_t> values;
  for (int i = 0; i < 50'000; ++i) {
    const auto value = static_cast<std::int64_t>(random.below(1'000'000));
    values.push_back(value);
    ++counts[histogram_bucket(value)];
  }
  HistogramSummary summary;
  summary.add(counts);
  std::sort(values.begin(), values.end());
  ASSERT_EQ(summary.count, values.size());
  for (const double fraction : {0.0, 0.5, 0.9, 0.99, 1.0}) {
    const auto exact = values[static_cast<std::size_t>(fraction * static_cast<double>(values.size() - 1))];
    EXPECT_NEAR(static_cast<double>(summary.percentile_ns(fraction)), static_cast<double>(exact),
                static_cast<double>(exact) / 8 + 1);
  }
}

TEST(Histogram, EmptyHasNoPercentile) { EXPECT_EQ(HistogramSummary{}.percentile_ns(0.99), 0); }

}  // namespace
}  // namespace stem::base
