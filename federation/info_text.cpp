#include "federation/info_text.hpp"

#include <fmt/format.h>

namespace stem::federation {

std::string info_value(std::string_view info, std::string_view name) {
  const std::string wanted = fmt::format("\n{}:", name);
  const std::size_t at = info.find(wanted);
  if (at == std::string_view::npos) return {};
  const std::string_view value = info.substr(at + wanted.size());
  return std::string(value.substr(0, value.find_first_of("\r\n")));
}

}  // namespace stem::federation
