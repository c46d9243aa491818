#include "tools/stem/config.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/check.hpp"
#include "base/units.hpp"
#include "tools/stem/settings.hpp"

namespace stem::cli {
namespace {

constexpr const char* kDefaultFile = "stem.toml";

// One layer over another: what it sets wins.
void lay_over(ConfigValues& values, const ConfigValues& layer) {
  for (const auto& [key, value] : layer) values[key] = value;
}

ConfigValues defaults() {
  ConfigValues values;
  for (const Setting& setting : settings()) {
    values[std::string(setting.key)] = {std::string(setting.default_text), Origin::kDefault, ""};
  }
  return values;
}

ConfigValues from_environment() {
  ConfigValues values;
  for (const Setting& setting : settings()) {
    if (setting.environment.empty()) continue;
    const char* text = std::getenv(std::string(setting.environment).c_str());
    // Set to nothing is how a shell or a unit file says "not set".
    if (text == nullptr || *text == '\0') continue;
    values[std::string(setting.key)] = {text, Origin::kEnvironment, std::string(setting.environment)};
  }
  return values;
}

void wipe_keys(ConfigValues& values) {
  for (auto& [key, value] : values) {
    if (const Setting* setting = find_setting(key); setting != nullptr && setting->kind == SettingKind::kKeys)
      ::explicit_bzero(value.text.data(), value.text.size());
  }
}

// A default may name another setting: "shm://{namespace}".
void fill_in_placeholders(ConfigValues& values) {
  for (auto& [key, value] : values) {
    if (value.origin != Origin::kDefault) continue;
    const std::size_t from = value.text.find('{');
    const std::size_t to = value.text.find('}');
    if (from == std::string::npos || to == std::string::npos) continue;
    const auto other = values.find(value.text.substr(from + 1, to - from - 1));
    STEM_CHECK(other != values.end());
    value.text.replace(from, to - from + 1, other->second.text);
  }
}

Result<void> check(const ConfigValues& values) {
  for (const auto& [key, value] : values) {
    if (value.origin == Origin::kDefault) continue;
    const auto checked = check_setting(*find_setting(key), value.text);
    if (!checked.ok()) {
      // A file's line does not name the key by itself; a flag and a variable do.
      return checked.error().within(value.origin == Origin::kFile ? fmt::format("{}: {}", value.where, key)
                                                                  : value.where);
    }
  }
  return {};
}

}  // namespace

std::string_view to_string(Origin origin) {
  switch (origin) {
    case Origin::kDefault: return "default";
    case Origin::kFile: return "file";
    case Origin::kEnvironment: return "environment";
    case Origin::kFlag: return "flag";
  }
  return "";
}

Result<Config> Config::resolve(const ConfigValues& flags, const std::optional<std::string>& file) {
  Config config;
  config.values_ = defaults();
  if (file || access(kDefaultFile, F_OK) == 0) {
    config.file_ = file.value_or(kDefaultFile);
    auto values = read_config_file(config.file_);
    if (!values.ok()) return values.error();
    lay_over(config.values_, *values);
    wipe_keys(*values);
  }
  ConfigValues environment = from_environment();
  lay_over(config.values_, environment);
  wipe_keys(environment);
  lay_over(config.values_, flags);
  if (const auto checked = check(config.values_); !checked.ok()) return checked.error();
  fill_in_placeholders(config.values_);
  return config;
}

Config::~Config() { wipe_keys(values_); }

const ConfigValue& Config::value(std::string_view key) const {
  const auto it = values_.find(key);
  STEM_CHECK(it != values_.end());
  return it->second;
}

std::uint64_t Config::whole_number(std::string_view key) const {
  const auto parsed = base::parse_count(text(key));
  STEM_CHECK(parsed.ok());
  return *parsed;
}

std::int64_t Config::duration_ns(std::string_view key) const {
  const auto parsed = base::parse_duration_ns(text(key));
  STEM_CHECK(parsed.ok());
  return *parsed;
}

std::vector<std::string> Config::names(std::string_view key) const {
  std::vector<std::string> out;
  std::string_view rest = text(key);
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    out.emplace_back(rest.substr(0, comma));
    rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
  }
  return out;
}

}  // namespace stem::cli
