#include "beat/zone.hpp"

#include <date/tz.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace stem::beat {
namespace {

constexpr std::int64_t kFar_s = std::numeric_limits<std::int64_t>::max() / 4;

std::int64_t seconds_of(date::sys_seconds time) {
  return std::clamp<std::int64_t>(time.time_since_epoch().count(), -kFar_s, kFar_s);
}

// A name becomes a file name below the zone directory: nothing that could lead out of it.
bool may_be_a_name(std::string_view name) {
  if (name.size() > 64 || name.front() == '/' || name.find("..") != std::string_view::npos) return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '/' || c == '_' || c == '-' || c == '+';
  });
}

}  // namespace

Result<Zone> Zone::find(std::string_view name) {
  Zone zone;
  if (name.empty() || name == "UTC") return zone;
  const Error unknown{Errc::kInvalidArgument,
                      fmt::format("timezone \"{}\" is not known to this host; write an IANA name such as "
                                  "\"Europe/Berlin\" (tzdata has them), or \"UTC\"",
                                  name.substr(0, 80))};
  if (!may_be_a_name(name)) return unknown;
  try {
    zone.zone_ = date::locate_zone(std::string(name));
    (void)zone.zone_->get_info(date::sys_seconds{});  // read now, so that a broken file is found here
  } catch (const std::exception&) {
    return unknown;
  }
  zone.name_ = name;
  return zone;
}

Regime Zone::regime_at(std::int64_t utc_s) const {
  if (zone_ == nullptr) return {-kFar_s, kFar_s, 0};
  const auto info = zone_->get_info(date::sys_seconds(std::chrono::seconds(utc_s)));
  return {seconds_of(info.begin), seconds_of(info.end), info.offset.count()};
}

FromLocal Zone::from_local(std::int64_t local_s) const {
  if (zone_ == nullptr) return {FromLocal::Kind::kOnce, local_s};
  const auto info = zone_->get_info(date::local_seconds(std::chrono::seconds(local_s)));
  switch (info.result) {
    case date::local_info::ambiguous: return {FromLocal::Kind::kTwice, local_s - info.first.offset.count()};
    case date::local_info::nonexistent: return {FromLocal::Kind::kNever, seconds_of(info.first.end)};
    default: return {FromLocal::Kind::kOnce, local_s - info.first.offset.count()};
  }
}

}  // namespace stem::beat
