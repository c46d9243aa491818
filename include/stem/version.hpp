#pragma once

#include <string_view>

namespace stem {

// The version of the library that a program was compiled against. The build, the package files and
// `stem --version` all read it from this line.
inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace stem
