#include "tools/stem/top/histogram.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.hpp"
#include "tools/stem/top/frame.hpp"

namespace stem::cli {
namespace {

constexpr std::size_t kBesideTheBar = 46;
constexpr std::size_t kMostBarCells = 60;

struct Step {
  std::int64_t from_ns = 0, to_ns = 0;
  std::uint64_t count = 0;
};

// 0, 1us, 2us, 5us, 10us, ... up to more than an hour.
std::vector<Step> steps() {
  std::vector<Step> all{{0, 1000, 0}};
  for (std::int64_t decade = 1000; decade < 10'000'000'000'000; decade *= 10)
    for (const std::int64_t factor : {1, 2, 5})
      all.push_back({decade * factor, factor == 5 ? decade * 10 : factor == 2 ? decade * 5 : decade * 2, 0});
  return all;
}

}  // namespace

std::vector<std::string> histogram_lines(const base::HistogramSummary& histogram, std::size_t width,
                                         const Style& style) {
  if (histogram.count == 0) return {};
  std::vector<Step> all = steps();
  for (std::uint32_t b = 0; b < base::kHistogramBuckets; ++b) {
    const std::int64_t low = base::histogram_lower_bound_ns(b);
    const auto step = std::find_if(all.begin(), all.end(), [low](const Step& s) { return low < s.to_ns; });
    (step == all.end() ? all.back() : *step).count += histogram.counts[b];
  }
  const auto is_used = [](const Step& s) { return s.count > 0; };
  const auto first = std::find_if(all.begin(), all.end(), is_used);
  const auto last = std::find_if(all.rbegin(), all.rend(), is_used).base();
  std::uint64_t most = 1;
  for (const Step& s : all) most = std::max(most, s.count);
  const std::size_t cells =
      std::clamp<std::size_t>(width > kBesideTheBar ? width - kBesideTheBar : 0, 8, kMostBarCells);
  std::vector<std::string> lines;
  for (auto s = first; s != last; ++s) {
    const double share = static_cast<double>(s->count) / static_cast<double>(histogram.count);
    lines.push_back(fmt::format(
        "  {:>7} - {:<7} {} {:>6.2f} %  {:>7}", base::human_duration(s->from_ns), base::human_duration(s->to_ns),
        style.paint(Tone::kGood, bar(static_cast<double>(s->count) / static_cast<double>(most), cells)), share * 100,
        base::human_count(s->count)));
  }
  return lines;
}

}  // namespace stem::cli
