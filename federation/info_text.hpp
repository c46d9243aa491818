// The text that INFO answers: "# Section\r\nname:value\r\n...".
#pragma once

#include <string>
#include <string_view>

namespace stem::federation {

// Empty when the name is not there.
std::string info_value(std::string_view info, std::string_view name);

}  // namespace stem::federation
