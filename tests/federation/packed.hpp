// MessagePack of a JSON value, as the typed API sends it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace stem::test {

inline std::string packed(const nlohmann::ordered_json& value) {
  std::string bytes;
  nlohmann::ordered_json::to_msgpack(value, bytes);
  return bytes;
}

}  // namespace stem::test
