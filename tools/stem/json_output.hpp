// JSON for programs: keys camelCase with the unit last (`meanDurationNs`), stable, in the order in which
// they were put in; never coloured.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace stem::cli {

// One document, indented.
void print_json(const nlohmann::ordered_json& document);

// One object on one line, flushed: for --follow.
void print_json_line(const nlohmann::ordered_json& object);

}  // namespace stem::cli
