#include "bench/plot.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/report.hpp"

namespace stem::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Enough of XML to see that every element is closed and nothing is unescaped.
bool well_formed(const std::string& svg) {
  std::vector<std::string> open;
  for (std::size_t at = 0; at < svg.size();) {
    const std::size_t next = svg.find('<', at);
    if (next == std::string::npos) break;
    const std::size_t end = svg.find('>', next);
    if (end == std::string::npos || svg.find('<', next + 1) < end) return false;
    const std::string tag = svg.substr(next + 1, end - next - 1);
    const std::string name = tag.substr(tag[0] == '/' ? 1 : 0, tag.find_first_of(" /", 1) - (tag[0] == '/' ? 1 : 0));
    if (tag[0] == '/') {
      if (open.empty() || open.back() != name) return false;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    at = end + 1;
  }
  return open.empty();
}

Plot bars() {
  Plot plot;
  plot.title = "Rates <of> \"A & B\"";
  plot.value_unit = Unit::kPerSecond;
  plot.log_value = true;
  plot.bars = {{"slow", {1e4, 9e3, 1.2e4, 3}, false}, {"fast & <strong>", {2e7, 2e7, 2e7, 1}, true}};
  return plot;
}

TEST(DrawSvg, BarsAreWellFormedAndEscaped) {
  const std::string svg = draw_svg(bars());
  EXPECT_TRUE(well_formed(svg));
  EXPECT_THAT(svg, HasSubstr("Rates &lt;of&gt; &quot;A &amp; B&quot;"));
  EXPECT_THAT(svg, HasSubstr("fast &amp; &lt;strong&gt;"));
  EXPECT_THAT(svg, HasSubstr("20.0 M/s"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(DrawSvg, LinesAreWellFormedWithALegend) {
  Plot plot;
  plot.title = "Depth";
  plot.x_unit = Unit::kCount;
  plot.log_x = true;
  plot.value_unit = Unit::kNanoseconds;
  plot.lines = {{"one", {{1000, 40}, {4000000, 55}}}, {"two", {{1000, 20}, {4000000, 25}}}};
  const std::string svg = draw_svg(plot);
  EXPECT_TRUE(well_formed(svg));
  EXPECT_THAT(svg, HasSubstr(">one<"));
  EXPECT_THAT(svg, HasSubstr("polyline"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(AxisTicks, CoverTheRangeWithRoundNumbers) {
  EXPECT_THAT(axis_ticks(0, 10, false), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(axis_ticks(1, 1e5, true), ElementsAre(1, 10, 100, 1e3, 1e4, 1e5));
  EXPECT_THAT(axis_ticks(0, 0, false).back(), ::testing::Ge(1));
}

class AxisRange : public ::testing::TestWithParam<std::pair<double, double>> {};

TEST_P(AxisRange, IsCoveredByEitherKindOfAxis) {
  const auto [low, high] = GetParam();
  for (const bool logarithmic : {false, true}) {
    const std::vector<double> ticks = axis_ticks(low, high, logarithmic);
    ASSERT_GE(ticks.size(), 2u);
    EXPECT_LE(ticks.size(), 30u);
    EXPECT_LE(ticks.front(), low * (1 + 1e-9));
    EXPECT_GE(ticks.back(), high * (1 - 1e-9));
    for (std::size_t i = 1; i < ticks.size(); ++i) EXPECT_LT(ticks[i - 1], ticks[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Ranges, AxisRange,
                         ::testing::Values(std::pair{3.0, 90e3}, std::pair{70.0, 75.0}, std::pair{1e3, 4e6},
                                           std::pair{1.0, 1.0}, std::pair{0.02, 0.9}, std::pair{1e9, 1e9}));

}  // namespace
}  // namespace stem::bench
