#include "base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace stem::base {

void check_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "stem: %s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace stem::base
