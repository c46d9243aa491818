// A schedule as people write it: which task, when, and how. What the task itself may ask for (retries, limits,
// priority, ...) is carried in `options` and understood by whoever makes the task.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "beat/spec.hpp"
#include "beat/zone.hpp"

namespace stem::beat {

// What becomes of ticks whose time passed while nobody could fire them.
enum class Misfire : std::uint8_t {
  kSkip,  // older than a minute: passed over
  kOnce,  // the latest is fired, the others are passed over
  kAll,   // each is fired, at most the latest `misfire_max`
};
std::string_view to_string(Misfire misfire);

inline constexpr std::size_t kLongestId = 200;
inline constexpr std::size_t kLargestEntry = 512 * 1024;  // as JSON
inline constexpr int kDeepestJson = 100;

struct Entry {
  std::string id, task;
  std::string queue;  // empty: the default queue
  nlohmann::json spec_written;
  nlohmann::json args;  // null: none
  nlohmann::json kwargs = nlohmann::json::object(), meta = nlohmann::json::object();
  nlohmann::json options = nlohmann::json::object();
  std::string timezone;  // empty: UTC
  bool enabled = true;
  std::int64_t jitter_ns = 0;
  Misfire misfire = Misfire::kOnce;
  std::uint32_t misfire_max = 100;

  // Understood from the above.
  Spec spec;
  Zone zone;

  // Keys that are not an entry's own become options. One line for what is wrong.
  static Result<Entry> parse(const nlohmann::json& written);
  // The same for the same entry, however it was written.
  [[nodiscard]] nlohmann::json to_json() const;

  // How much later than planned this tick is fired: the same for every process that asks.
  [[nodiscard]] std::int64_t jitter_of(std::int64_t planned_ns) const;
};

// An entry's own keys, with their other spellings; for "did you mean".
const std::vector<std::string>& entry_keys();

// Levels of lists and objects in a JSON text, without parsing it.
int json_depth(std::string_view text);

}  // namespace stem::beat
