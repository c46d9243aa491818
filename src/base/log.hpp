// The log of workers and tools: lines on stderr, each written by one system call, so that the lines
// of many processes never mix. Level from STEM_LOG (trace, debug, info, warn, error, off; default
// info), form from STEM_LOG_FORMAT (pretty, json; json is one object a line).
//
//   log::info("worker ready", {{"worker", 3}, {"core", 1}});
//   pretty  12:03:04.123 info  worker ready  worker=3 core=1
//   json    {"time":"2026-01-31T12:03:04.123456Z","level":"info","pid":42,"message":"worker
//   ready","worker":3,"core":1}
//
// Any thread may call; a child may go on logging after fork. Not for signal handlers.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <variant>

#include "base/result.hpp"

namespace stem::log {

enum class Level { kTrace, kDebug, kInfo, kWarn, kError, kOff };
enum class Format { kPretty, kJson };

struct Settings {
  Level level = Level::kInfo;
  Format format = Format::kPretty;
};

Result<Level> parse_level(std::string_view text);
Result<Format> parse_format(std::string_view text);

// From STEM_LOG and STEM_LOG_FORMAT; unset and empty mean the default.
Result<Settings> settings_from_environment();

// Takes effect for every later line of this process. Without it the first line reads the
// environment, and says so once if the environment does not parse.
void configure(Settings settings);

// A field's value; text is only looked at during the call.
class Value {
 public:
  template <class T>
  requires std::integral<T> Value(T value) {  // NOLINT: meant to convert, so that {"worker", 3} reads well
    if constexpr (std::same_as<T, bool>) {
      value_ = value;
    } else if constexpr (std::signed_integral<T>) {
      value_ = static_cast<std::int64_t>(value);
    } else {
      value_ = static_cast<std::uint64_t>(value);
    }
  }
  Value(double value) : value_(value) {}
  Value(std::string_view value) : value_(value) {}
  Value(const char* value) : value_(std::string_view(value)) {}
  Value(const std::string& value) : value_(std::string_view(value)) {}

  using Variant = std::variant<bool, std::int64_t, std::uint64_t, double, std::string_view>;
  [[nodiscard]] const Variant& get() const { return value_; }

 private:
  Variant value_;
};

struct Field {
  std::string_view key;  // snake_case, not one of time, level, pid, message
  Value value;
};

// Before costly work for a line's fields.
[[nodiscard]] bool enabled(Level level);

void write(Level level, std::string_view message, std::initializer_list<Field> fields = {});

inline void debug(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kDebug, message, fields);
}
inline void info(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kInfo, message, fields);
}
inline void warn(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kWarn, message, fields);
}
inline void error(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kError, message, fields);
}

}  // namespace stem::log
