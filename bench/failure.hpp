// What ends a benchmark early. The bench is a program for people, not a library: whatever the machine
// refuses is thrown as one sentence, caught once in main, and becomes exit code 70.
#pragma once

#include <stdexcept>
#include <string>

namespace stem::bench {

class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A Failure for the current errno: "open /tmp/x: Permission denied".
[[noreturn]] void fail_with_errno(const std::string& what);

}  // namespace stem::bench
