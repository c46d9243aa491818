#include "tools/stem/doctor/host_files.hpp"

#include <sched.h>
#include <unistd.h>

#include <charconv>
#include <fstream>

#include "base/units.hpp"

namespace stem::cli {

std::optional<std::string> read_first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  if (!in || (!std::getline(in, line) && line.empty() && !in.eof())) return std::nullopt;
  return line;
}

std::vector<int> parse_cpu_list(std::string_view text) {
  std::vector<int> cpus;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    int first = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), first);
    if (parsed.ec != std::errc()) return cpus;
    int last = first;
    if (parsed.ptr != part.data() + part.size() && *parsed.ptr == '-') {
      std::from_chars(parsed.ptr + 1, part.data() + part.size(), last);
    }
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  return cpus;
}

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

std::string chosen_word(std::string_view text) {
  const std::size_t open = text.find('[');
  const std::size_t close = text.find(']');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return "";
  return std::string(text.substr(open + 1, close - open - 1));
}

namespace {

// A line of /proc/self/cgroup, "4:cpu,cpuacct:/user.slice".
struct GroupLine {
  std::string_view controllers;
  std::string_view path;
};

std::optional<GroupLine> split_group_line(std::string_view line) {
  const std::size_t first = line.find(':');
  const std::size_t second = line.find(':', first == std::string_view::npos ? 0 : first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos) return std::nullopt;
  return GroupLine{line.substr(first + 1, second - first - 1), line.substr(second + 1)};
}

bool names_controller(std::string_view list, std::string_view controller) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    if (list.substr(0, comma) == controller) return true;
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
  }
  return false;
}

std::vector<std::string> with_parents(const std::string& mount, std::string path) {
  std::vector<std::string> directories;
  while (path.size() > 1) {
    directories.push_back(mount + path);
    path.resize(path.rfind('/'));
  }
  // In a container the mount itself is the group.
  directories.push_back(mount);
  return directories;
}

}  // namespace

std::optional<ControlGroup> control_group(std::string_view controller) {
  std::ifstream in("/proc/self/cgroup");
  std::optional<ControlGroup> unified;
  for (std::string line; std::getline(in, line);) {
    const auto group = split_group_line(line);
    if (!group) continue;
    const std::string path(group->path);
    if (names_controller(group->controllers, controller)) {
      return ControlGroup{1, with_parents("/sys/fs/cgroup/" + std::string(controller), path)};
    }
    if (!group->controllers.empty()) continue;
    // Version 2 alone, or beside version 1.
    const bool hybrid = access("/sys/fs/cgroup/cgroup.controllers", F_OK) != 0;
    unified = ControlGroup{2, with_parents(hybrid ? "/sys/fs/cgroup/unified" : "/sys/fs/cgroup", path)};
  }
  return unified;
}

}  // namespace stem::cli
