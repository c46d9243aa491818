// One reply of a Redis server. Text and elements live as long as the call that hands the reply over.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "federation/redis_error.hpp"

namespace stem::federation {

struct Reply {
  enum class Kind : std::uint8_t { kNil, kInteger, kStatus, kString, kArray, kError };

  Kind kind = Kind::kNil;
  RedisError error = RedisError::kNone;
  std::int64_t integer = 0;
  std::string_view text;            // status, string, error
  std::span<const Reply> elements;  // array

  bool is_nil() const { return kind == Kind::kNil; }
  bool is_integer() const { return kind == Kind::kInteger; }
  bool is_text() const { return kind == Kind::kString || kind == Kind::kStatus; }
  bool is_array() const { return kind == Kind::kArray; }
  bool is_error() const { return kind == Kind::kError; }
  bool is_ok() const { return kind == Kind::kStatus && text == "OK"; }
};

}  // namespace stem::federation
