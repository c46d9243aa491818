// Whose connections end before a process goes on where one before it stopped.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace stem::federation {

// Ids in the reply to CLIENT LIST of those whose names begin with `others`, but not with `own`.
inline std::vector<std::string> clients_to_fence(std::string_view list, std::string_view others, std::string_view own) {
  constexpr std::string_view kName = " name=";
  std::vector<std::string> ids;
  while (!list.empty()) {
    const std::string_view line = list.substr(0, list.find('\n'));
    list.remove_prefix(std::min(line.size() + 1, list.size()));
    const std::size_t at = line.find(kName);
    if (at == line.npos || !line.starts_with("id=")) continue;
    const std::string_view name = line.substr(at + kName.size());
    if (name.starts_with(others) && !name.starts_with(own)) ids.emplace_back(line.substr(3, line.find(' ') - 3));
  }
  return ids;
}

}  // namespace stem::federation
