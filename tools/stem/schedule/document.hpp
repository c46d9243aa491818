// A YAML or JSON text as one JSON value that knows its lines.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stem::cli {

struct Document {
  nlohmann::json value;
  std::map<std::string, int> lines;  // by JSON pointer ("/schedules/0/task"); from 1

  // Of the pointer, or of the nearest thing around it; 0 when nothing is known.
  [[nodiscard]] int line_of(std::string pointer) const;
};

std::string pointer_step(std::string_view key);

// Errors begin with "line N: ".
Result<Document> parse_document(const std::string& text);

}  // namespace stem::cli
