// The next time that a spec means.
#include <algorithm>
#include <cmath>

#include "beat/spec.hpp"

namespace stem::beat {
namespace {

constexpr int kMostSolarDays = 400;  // a polar night ends within half a year

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

// Seconds as nanoseconds; what does not fit is never.
std::optional<std::int64_t> from_seconds(std::optional<std::int64_t> seconds) {
  if (!seconds || *seconds > kNever / kSecondNs || *seconds < -kNever / kSecondNs) return std::nullopt;
  return *seconds * kSecondNs;
}

// It follows the clock as it is shown: what the clock skips does not come, what it shows twice comes twice.
std::optional<std::int64_t> next_shown_s(const Cron& cron, const Zone& zone, std::int64_t after_s) {
  // Every regime is looked through from its first second on; a year has two or three.
  for (int regimes = 0; regimes < 400; ++regimes) {
    const Regime regime = zone.regime_at(after_s + 1);
    const auto local_s = cron.next_local(after_s + regime.offset_s);
    if (!local_s) return std::nullopt;
    const std::int64_t utc_s = *local_s - regime.offset_s;
    if (utc_s < regime.end_s) return utc_s;
    after_s = regime.end_s - 1;
  }
  return std::nullopt;
}

// It means one moment of a day: when the clock skips it, it comes at once; when the clock shows it twice, it
// comes the first time.
std::optional<std::int64_t> next_fixed_s(const Cron& cron, const Zone& zone, std::int64_t after_s) {
  std::int64_t local_s = zone.to_local(after_s);
  // After a clock was set forward, times that it skipped lie behind `after`, and have come.
  for (int looks = 0; looks < 200'000; ++looks) {
    const auto next_s = cron.next_local(local_s);
    if (!next_s) return std::nullopt;
    const FromLocal found = zone.from_local(*next_s);
    if (found.utc_s > after_s) return found.utc_s;
    local_s = *next_s;
  }
  return std::nullopt;
}

std::optional<std::int64_t> next_solar_ns(const Solar& solar, std::int64_t after_ns) {
  const std::int64_t wanted_ns = after_ns - solar.offset_ns;
  const std::int64_t seconds = floor_seconds(wanted_ns);
  const std::int64_t today = seconds / kDay_s - (seconds % kDay_s < 0 ? 1 : 0);
  for (std::int64_t day = today - 2; day < today + kMostSolarDays; ++day) {
    const auto at_s = solar_event_s(solar.event, day, solar.latitude_deg, solar.longitude_deg);
    if (at_s && *at_s * kSecondNs > wanted_ns) return *at_s * kSecondNs + solar.offset_ns;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::int64_t> next_cron_s(const Cron& cron, const Zone& zone, std::int64_t after_s) {
  return cron.follows_clock() ? next_shown_s(cron, zone, after_s) : next_fixed_s(cron, zone, after_s);
}

std::optional<std::int64_t> Spec::every_ns() const {
  if (const auto* interval = std::get_if<Interval>(&rule_)) return interval->every_ns;
  return std::nullopt;
}

std::optional<std::int64_t> Spec::next_of_rule(std::int64_t after_ns, std::int64_t anchor_ns, const Zone& zone) const {
  if (const auto* interval = std::get_if<Interval>(&rule_)) {
    if (start_ns_ && after_ns < *start_ns_) return *start_ns_;
    const std::int64_t from_ns = start_ns_.value_or(anchor_ns);
    // Counted both ways: the clock may have been set back to before the anchor.
    const std::int64_t distance = after_ns - from_ns;
    const std::int64_t steps = distance / interval->every_ns + (distance % interval->every_ns < 0 ? 0 : 1);
    if (steps > (kNever - std::max<std::int64_t>(from_ns, 0)) / interval->every_ns) return std::nullopt;
    return from_ns + steps * interval->every_ns;
  }
  if (const auto* clocked = std::get_if<Clocked>(&rule_))
    return clocked->at_ns > after_ns ? std::optional(clocked->at_ns) : std::nullopt;
  const std::int64_t begin_ns = start_ns_ ? std::max(after_ns, *start_ns_ - 1) : after_ns;
  if (const auto* cron = std::get_if<Cron>(&rule_))
    return from_seconds(next_cron_s(*cron, zone, floor_seconds(begin_ns)));
  return next_solar_ns(std::get<Solar>(rule_), begin_ns);
}

std::optional<std::int64_t> Spec::next(std::int64_t after_ns, std::int64_t anchor_ns, const Zone& zone) const {
  // Beyond the years that a clock may show nothing is due.
  constexpr std::int64_t kEarliest = -kNever / 4;
  constexpr std::int64_t kLatest = kNever / 4 * 3;
  if (after_ns > kLatest) return std::nullopt;
  const auto found = next_of_rule(std::max(after_ns, kEarliest), std::clamp(anchor_ns, kEarliest, kLatest), zone);
  return found && *found <= end_ns_ ? found : std::nullopt;
}

}  // namespace stem::beat
