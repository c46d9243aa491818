#include "tools/stem/top/limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "engine/limiter.hpp"
#include "shm/names.hpp"

namespace stem::cli {
namespace {

std::map<std::uint64_t, std::string> names_of_keys(const shm::Segment& segment) {
  std::map<std::uint64_t, std::string> names;
  for (std::uint32_t q = 0; q < shm::queue_total(segment); ++q) {
    names[engine::queue_rate_key(segment, q)] = fmt::format("queue {}, rate", shm::queue_name(segment, q));
    names[engine::queue_concurrency_key(segment, q)] =
        fmt::format("queue {}, concurrency", shm::queue_name(segment, q));
  }
  return names;
}

}  // namespace

std::vector<LimitFigures> LimitWatch::look(shm::Segment& segment, std::int64_t now_ns) {
  const auto names = names_of_keys(segment);
  const auto* rows = segment.at<shm::LimiterRow>(segment.layout().limiters);
  const double seconds = static_cast<double>(now_ns - looked_ns_) / 1e9;
  const engine::Limiter limiter(segment);
  std::vector<LimitFigures> all;
  for (std::uint32_t i = 0; i < segment.geometry().limiter_count; ++i) {
    std::uint64_t head[3] = {};  // key, arrival, denied: without putting memory behind rows that nobody used
    static_assert(offsetof(shm::LimiterRow, denied) == 16);
    if (!segment.read(segment.offset_of(&rows[i]), head, sizeof head) || head[0] == 0) continue;
    LimitFigures f;
    f.key = head[0];
    f.denied = head[2];
    f.holders = limiter.holders(rows[i]);
    const auto name = names.find(f.key);
    f.name = name != names.end() ? name->second : fmt::format("key {:016x}", f.key);
    const auto before = denied_.find(f.key);
    if (before != denied_.end() && seconds > 0)
      f.denied_rate = static_cast<double>(f.denied - std::min(before->second, f.denied)) / seconds;
    denied_[f.key] = f.denied;
    if (f.denied > 0 || f.holders > 0) all.push_back(std::move(f));
  }
  looked_ns_ = now_ns;
  std::stable_sort(all.begin(), all.end(), [](const LimitFigures& a, const LimitFigures& b) {
    return std::pair(a.denied_rate, a.denied) > std::pair(b.denied_rate, b.denied);
  });
  return all;
}

}  // namespace stem::cli
