// Reading stem.toml. The only file that sees the TOML library.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <memory>

#include "tools/stem/config.hpp"
#include "tools/stem/hardened_toml.hpp"
#include "tools/stem/nearest.hpp"
#include "tools/stem/settings.hpp"

namespace stem::cli {
namespace {

struct Reader {
  const std::string& path;
  ConfigValues values;

  [[nodiscard]] std::string place(const toml::node& node) const {
    return fmt::format("{}:{}", path, node.source().begin.line);
  }

  [[nodiscard]] Error refusal(const toml::node& node, std::string_view message) const {
    return {Errc::kInvalidArgument, fmt::format("{}: {}", place(node), message)};
  }

  Result<void> read_table(const toml::table& table, const std::string& prefix) {
    for (const auto& [name, node] : table) {
      const std::string key = prefix + std::string(name.str());
      const Setting* setting = find_setting(key);
      const auto read = setting != nullptr ? read_value(*setting, node)
                        : node.is_table()  ? read_section(key, *node.as_table())
                                           : Result<void>(unknown(key, node));
      if (!read.ok()) return read;
    }
    return {};
  }

  Result<void> read_section(const std::string& key, const toml::table& table) {
    const std::string prefix = key + ".";
    for (const Setting& setting : settings()) {
      if (setting.key.starts_with(prefix)) return read_table(table, prefix);
    }
    return unknown(key, table);
  }

  [[nodiscard]] Error unknown(const std::string& key, const toml::node& node) const {
    std::vector<std::string> keys;
    for (const Setting& setting : settings()) keys.emplace_back(setting.key);
    return refusal(node, fmt::format("unknown key {}{}", key, did_you_mean(key, keys)));
  }

  Result<void> read_value(const Setting& setting, const toml::node& node) {
    ConfigValue value{"", Origin::kFile, place(node)};
    if (const auto* text = node.as_string()) {
      value.text = text->get();
    } else if (const auto* number = node.as_integer(); number != nullptr && setting.kind == SettingKind::kWholeNumber) {
      value.text = fmt::format("{}", number->get());
    } else if (const auto* list = node.as_array(); list != nullptr && setting.kind == SettingKind::kNames) {
      std::vector<std::string> names;
      for (const toml::node& item : *list) {
        if (!item.is_string()) return refusal(item, fmt::format("{} holds names", setting.key));
        names.push_back(item.as_string()->get());
      }
      value.text = fmt::format("{}", fmt::join(names, ","));
    } else {
      return refusal(node, fmt::format("{} wants {}", setting.key, wanted(setting.kind)));
    }
    if (value.text.empty() && !setting.default_text.empty()) {
      return refusal(node, fmt::format("{} is empty", setting.key));
    }
    if (!value.text.empty()) values[std::string(setting.key)] = std::move(value);
    return {};
  }

  static std::string_view wanted(SettingKind kind) {
    switch (kind) {
      case SettingKind::kWholeNumber: return "a whole number";
      case SettingKind::kNames: return "a list of names, such as [\"images\", \"mail\"]";
      case SettingKind::kDuration: return "a duration in quotes, such as \"10s\"";
      default: return "a text in quotes";
    }
  }
};

// Not a stream: those do not tell a directory from an empty file.
Result<std::string> read_text(const std::string& path) {
  constexpr std::size_t kLargest = 1 << 20;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  if (!file) return system_error(path);
  std::string text(kLargest + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0) return system_error(path);
  if (text.size() > kLargest) {
    return Error{Errc::kTooLarge, fmt::format("{}: larger than 1 MiB", path)};
  }
  return text;
}

}  // namespace

Result<ConfigValues> read_config_file(const std::string& path) {
  const auto content = read_text(path);
  if (!content.ok()) return content.error().within("cannot read the config file");
  try {
    const toml::table table = toml::parse(*content, path);
    Reader reader{path, {}};
    if (const auto read = reader.read_table(table, ""); !read.ok()) return read.error();
    return reader.values;
  } catch (const toml::parse_error& error) {
    return Error{Errc::kInvalidArgument,
                 fmt::format("{}:{}: {}", path, error.source().begin.line, error.description())};
  } catch (const TomlAssertion&) {
    return Error{Errc::kInvalidArgument, fmt::format("{}: this is not valid TOML", path)};
  }
}

}  // namespace stem::cli
