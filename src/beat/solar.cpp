#include "beat/solar.hpp"

#include <cmath>
#include <numbers>

namespace stem::beat {
namespace {

constexpr double kRadians = std::numbers::pi / 180;
constexpr double kZenithDeg = 90.833;
constexpr double kDayMinutes = 1440;

double sin_deg(double x) { return std::sin(x * kRadians); }
double cos_deg(double x) { return std::cos(x * kRadians); }
double tan_deg(double x) { return std::tan(x * kRadians); }

struct Sun {
  double equation_of_time_min;  // how far a sundial is ahead of the clock
  double declination_deg;
};

// `days` since 1970-01-01 00:00 UTC, with its fraction.
Sun sun_at(double days) {
  const double century = (days + 2440587.5 - 2451545.0) / 36525.0;  // Julian centuries since J2000
  const double mean_longitude = std::fmod(280.46646 + century * (36000.76983 + century * 0.0003032), 360.0);
  const double mean_anomaly = 357.52911 + century * (35999.05029 - 0.0001537 * century);
  const double eccentricity = 0.016708634 - century * (0.000042037 + 0.0000001267 * century);
  const double center = sin_deg(mean_anomaly) * (1.914602 - century * (0.004817 + 0.000014 * century)) +
                        sin_deg(2 * mean_anomaly) * (0.019993 - 0.000101 * century) +
                        sin_deg(3 * mean_anomaly) * 0.000289;
  const double node = 125.04 - 1934.136 * century;
  const double apparent_longitude = mean_longitude + center - 0.00569 - 0.00478 * sin_deg(node);
  const double mean_obliquity =
      23 + (26 + (21.448 - century * (46.815 + century * (0.00059 - century * 0.001813))) / 60) / 60;
  const double obliquity = mean_obliquity + 0.00256 * cos_deg(node);
  const double y = tan_deg(obliquity / 2) * tan_deg(obliquity / 2);
  const double equation = y * sin_deg(2 * mean_longitude) - 2 * eccentricity * sin_deg(mean_anomaly) +
                          4 * eccentricity * y * sin_deg(mean_anomaly) * cos_deg(2 * mean_longitude) -
                          0.5 * y * y * sin_deg(4 * mean_longitude) -
                          1.25 * eccentricity * eccentricity * sin_deg(2 * mean_anomaly);
  return {4 * equation / kRadians, std::asin(sin_deg(obliquity) * sin_deg(apparent_longitude)) / kRadians};
}

// Minutes after 00:00 UTC of `day`; NaN when the sun stays above or below the horizon. The sun moves on meanwhile,
// so what it was at the time found is put in again.
double event_minutes(SolarEvent event, double day, double latitude, double longitude) {
  double minutes = kDayMinutes / 2 - 4 * longitude;
  for (int round = 0; round < 3; ++round) {
    const Sun sun = sun_at(day + minutes / kDayMinutes);
    const double noon = kDayMinutes / 2 - 4 * longitude - sun.equation_of_time_min;
    if (event == SolarEvent::kNoon) {
      minutes = noon;
      continue;
    }
    const double cosine = cos_deg(kZenithDeg) / (cos_deg(latitude) * cos_deg(sun.declination_deg)) -
                          tan_deg(latitude) * tan_deg(sun.declination_deg);
    if (!(cosine >= -1 && cosine <= 1)) return std::nan("");
    const double half_day = 4 * std::acos(cosine) / kRadians;
    minutes = event == SolarEvent::kSunrise ? noon - half_day : noon + half_day;
  }
  return minutes;
}

}  // namespace

std::optional<std::int64_t> solar_event_s(SolarEvent event, std::int64_t day, double latitude_deg,
                                          double longitude_deg) {
  const double minutes = event_minutes(event, static_cast<double>(day), latitude_deg, longitude_deg);
  if (std::isnan(minutes)) return std::nullopt;
  return day * 86'400 + static_cast<std::int64_t>(std::floor(minutes * 60));
}

}  // namespace stem::beat
