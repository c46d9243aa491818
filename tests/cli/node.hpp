// A worker node of the real program, in the background.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "scene.hpp"
#include "tests/support/process.hpp"

namespace stem::cli_test {

// Ready when the constructor returns; stopped by SIGTERM unless the test has stopped it.
class Node {
 public:
  Node(const Scene& scene, const std::string& name, std::vector<std::string> flags,
       const std::map<std::string, std::string>& environment = {});
  // What it printed so far.
  [[nodiscard]] std::string output() const;
  test::Process& process() { return process_; }

 private:
  std::string output_;
  test::Process process_;
};

}  // namespace stem::cli_test
