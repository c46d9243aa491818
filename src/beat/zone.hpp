// A time zone by its IANA name ("Europe/Berlin"), read from the system's tzdata, and the way between its local
// time and UTC. Local times are seconds too: those that a UTC clock would show for the same date and time of day.
//
// Zones live for ever and may be shared by threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace date {
class time_zone;
}

namespace stem::beat {

inline constexpr std::int64_t kSecondNs = 1'000'000'000;

// Seconds since 1970, rounded down.
constexpr std::int64_t floor_seconds(std::int64_t ns) { return ns / kSecondNs - (ns % kSecondNs < 0 ? 1 : 0); }

// A local time as UTC: it may exist once, twice (the clock was set back) or not at all (it was set forward).
struct FromLocal {
  enum class Kind { kOnce, kTwice, kNever };
  Kind kind = Kind::kOnce;
  std::int64_t utc_s = 0;  // kTwice: the first; kNever: the moment at which the clock was set forward
};

// The time during which one distance to UTC holds.
struct Regime {
  std::int64_t begin_s = 0, end_s = 0;  // UTC; end is not part of it
  std::int64_t offset_s = 0;            // local = UTC + offset
};

class Zone {
 public:
  Zone() = default;  // UTC
  // Empty means UTC. kInvalidArgument when the system does not know the name.
  static Result<Zone> find(std::string_view name);

  [[nodiscard]] Regime regime_at(std::int64_t utc_s) const;
  [[nodiscard]] FromLocal from_local(std::int64_t local_s) const;
  [[nodiscard]] std::int64_t to_local(std::int64_t utc_s) const { return utc_s + regime_at(utc_s).offset_s; }
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  const date::time_zone* zone_ = nullptr;  // null: UTC
  std::string name_ = "UTC";
};

}  // namespace stem::beat
