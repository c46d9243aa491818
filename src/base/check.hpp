// STEM_CHECK: a programmer's error aborts this process alone, in every build.
// Never used on values read from a segment, a file or the wire: those are input and get a Result.
#pragma once

namespace stem::base {
[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;
}

#define STEM_CHECK(condition)                                     \
  do {                                                            \
    if (!(condition)) [[unlikely]]                                \
      ::stem::base::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)
