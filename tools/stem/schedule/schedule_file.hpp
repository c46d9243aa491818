// The file of `stem schedule apply`: YAML or JSON, and in it a list of entries, an object with `schedules:`, or a map
// keyed by id.
#pragma once

#include <string>
#include <vector>

#include "beat/entry.hpp"

namespace stem::cli {

struct ScheduleFile {
  std::vector<beat::Entry> entries;
  std::vector<std::string> errors;  // "schedules.yaml:3: ..."; one line each. With any, nothing is to be applied
};

// `source` is what errors call the text.
ScheduleFile parse_schedule_file(const std::string& text, const std::string& source);

}  // namespace stem::cli
