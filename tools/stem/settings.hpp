// Every setting that a flag, the environment or stem.toml can give: one table, from which flags are
// checked, the file is read, `stem config show` is printed and completion is generated.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace stem::cli {

enum class SettingKind {
  kText,
  kName,   // a namespace or queue: letters, digits, '.', '_', '-'
  kNames,  // the same, several, with commas between
  kWholeNumber,
  kDuration,
  kChoice,
  kUrl,  // scheme://...; a password in it is never shown
  kPath,
  kKeys,  // id:base64,...; only the ids are ever shown
};

struct Setting {
  std::string_view key;  // as in the file: "worker.queues" is queues in [worker]
  std::string_view environment;
  SettingKind kind;
  std::string_view default_text;  // empty: not set; "{KEY}" stands for that setting
  std::string_view help;          // one line, no full stop
  std::vector<std::string_view> choices = {};
};

std::span<const Setting> settings();

// nullptr when there is none of that name.
const Setting* find_setting(std::string_view key);

// Whether the text is a value of the setting; the error says what would be.
Result<void> check_setting(const Setting& setting, std::string_view text);

// The value with secrets hidden.
std::string shown_value(const Setting& setting, std::string_view text);

// Letters, digits, '.', '_', '-'; 1 to 64 of them, not beginning with '.' or '-': it becomes a file's
// name and part of Redis keys.
Result<void> check_name(std::string_view text);

}  // namespace stem::cli
