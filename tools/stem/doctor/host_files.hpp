// Small files of /proc and /sys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stem::cli {

// The first line without its end; nothing when the file cannot be read.
std::optional<std::string> read_first_line(const std::string& path);

// "0-3,8" as {0, 1, 2, 3, 8}.
std::vector<int> parse_cpu_list(std::string_view text);

// CPUs that this process may run on.
std::vector<int> allowed_cpus();

// The word in brackets of "always [never] madvise"; empty when there is none.
std::string chosen_word(std::string_view text);

// The directory of this process's control group, with its parents up to the mount, nearest first.
// `controller` counts on hierarchies of version 1 ("cpu", "memory"); `version` says which it is.
struct ControlGroup {
  int version = 2;
  std::vector<std::string> directories;
};
std::optional<ControlGroup> control_group(std::string_view controller);

}  // namespace stem::cli
