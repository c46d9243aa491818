// When a failed attempt runs again, and whether at all.
#pragma once

#include <algorithm>
#include <string_view>

#include "base/random.hpp"
#include "engine/task.hpp"

namespace stem::engine {

// Delay before retry number `retry` (0 = the first). Exponential: c = min(base * 2^retry, max), less a
// random 0 to 25 % of c, so that what failed together does not return together.
inline std::int64_t retry_delay_ns(const RetryPolicy& policy, std::uint32_t retry, base::Random& random) noexcept {
  const std::int64_t base = std::max<std::int64_t>(policy.base_ns, 0);
  const std::int64_t most = std::max<std::int64_t>(policy.max_ns, 0);
  const auto capped = [most](__int128 ns) { return static_cast<std::int64_t>(std::min<__int128>(ns, most)); };
  switch (policy.kind) {
    case RetryKind::kConstant: return capped(base);
    case RetryKind::kLinear: return capped(static_cast<__int128>(base) * (retry + 1));
    case RetryKind::kExponential:
    case RetryKind::kUser:  // a user function that gave no answer
      break;
  }
  const std::int64_t c = capped(static_cast<__int128>(base) << std::min(retry, 40u));
  return c - static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(c) / 4 + 1));
}

// Whether `kind` is an element of a comma-separated list.
inline bool list_has(std::string_view list, std::string_view kind) noexcept {
  while (!list.empty()) {
    const auto comma = list.find(',');
    if (list.substr(0, comma) == kind) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
  return false;
}

// retry_for (when given, only these) and no_retry_for (never these).
inline bool kind_allows_retry(const TaskExtras& extras, std::string_view kind) noexcept {
  if (!extras.no_retry_for.empty() && list_has(extras.no_retry_for, kind)) return false;
  return extras.retry_for.empty() || list_has(extras.retry_for, kind);
}

}  // namespace stem::engine
