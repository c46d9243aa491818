#include "node.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "run_stem.hpp"
#include "tests/support/wait.hpp"

namespace stem::cli_test {

Node::Node(const Scene& scene, const std::string& name, std::vector<std::string> flags,
           const std::map<std::string, std::string>& environment)
    : output_(scene.directory() + "/" + name + ".out") {
  flags.insert(flags.begin(), {stem_path(), "worker", "start", "--node", name, "--pin", "none"});
  process_ = test::Process([&] {
    ::setenv("STEM_SHM_DIRECTORY", scene.directory().c_str(), 1);
    ::setenv("STEM_LOG", "error", 1);
    for (const auto& [variable, value] : environment) ::setenv(variable.c_str(), value.c_str(), 1);
    if (std::freopen(output_.c_str(), "w", stdout) == nullptr) return 126;
    std::vector<char*> words;
    for (std::string& flag : flags) words.push_back(flag.data());
    words.push_back(nullptr);
    ::execv(words[0], words.data());
    return 127;
  });
  EXPECT_TRUE(test::wait_until([&] { return output().ends_with("ready\n"); }, std::chrono::seconds(60))) << output();
}

std::string Node::output() const {
  std::ifstream in(output_);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace stem::cli_test
