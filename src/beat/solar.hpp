// Sunrise, sunset and solar noon by the equations of the NOAA Solar Calculator
// (gml.noaa.gov/grad/solcalc, after J. Meeus, Astronomical Algorithms): within a minute or two between the polar
// circles. The sun rises when its upper edge is seen, refraction included (zenith 90.833 degrees).
#pragma once

#include <cstdint>
#include <optional>

namespace stem::beat {

enum class SolarEvent : std::uint8_t { kSunrise, kSunset, kNoon };

// Of the solar day whose noon at this longitude lies next to 12:00 local solar time of `day` (days since 1970).
// UTC seconds; nothing when the sun does not rise or set that day.
std::optional<std::int64_t> solar_event_s(SolarEvent event, std::int64_t day, double latitude_deg,
                                          double longitude_deg);

}  // namespace stem::beat
