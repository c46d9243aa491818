// What producer and worker agree on: a name, the arguments, the result.
#pragma once

#include <string>

#include "stem/task.hpp"

inline constexpr stem::Task<std::string(std::string)> greet{"hello.greet"};
