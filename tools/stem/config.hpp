// The value of every setting and where it came from: a flag beats the environment, which beats the
// file, which beats the default.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace stem::cli {

enum class Origin { kDefault, kFile, kEnvironment, kFlag };

std::string_view to_string(Origin origin);

struct ConfigValue {
  std::string text;  // empty: not set
  Origin origin = Origin::kDefault;
  std::string where;  // "--namespace", "STEM_NAMESPACE", "stem.toml:3", ""
};

// By key of the settings table.
using ConfigValues = std::map<std::string, ConfigValue, std::less<>>;

class Config {
 public:
  Config() = default;
  Config(const Config&) = default;
  Config(Config&&) = default;
  Config& operator=(const Config&) = default;
  Config& operator=(Config&&) = default;
  ~Config();  // wipes keys

  // `flags` are values that the command line gave. `file` is what --config named; without it
  // ./stem.toml is read if it is there. Every value is checked; the error says where it stands.
  static Result<Config> resolve(const ConfigValues& flags, const std::optional<std::string>& file);

  // The key must be one of the settings table (a wrong one is a programmer's error).
  [[nodiscard]] const ConfigValue& value(std::string_view key) const;
  [[nodiscard]] bool is_set(std::string_view key) const { return !text(key).empty(); }
  [[nodiscard]] const std::string& text(std::string_view key) const { return value(key).text; }
  // Only for settings of that kind that are set.
  [[nodiscard]] std::uint64_t whole_number(std::string_view key) const;
  [[nodiscard]] std::int64_t duration_ns(std::string_view key) const;
  [[nodiscard]] std::vector<std::string> names(std::string_view key) const;

  // The file that was read; empty when there was none.
  [[nodiscard]] const std::string& file() const { return file_; }

 private:
  ConfigValues values_;
  std::string file_;
};

// The settings that a file gives. Unknown keys, wrong types and broken TOML are errors with file, line
// and the nearest right key.
Result<ConfigValues> read_config_file(const std::string& path);

}  // namespace stem::cli
