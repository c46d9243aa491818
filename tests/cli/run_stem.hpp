// Runs the real program and waits for it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace stem::cli_test {

struct RunOptions {
  std::map<std::string, std::string> environment = {};  // nothing of the tests' own STEM_* and NO_COLOR
  std::string directory = {};                           // to run in; empty: a fresh one of its own
  std::string stdout_path = {};                         // instead of collecting it
  std::function<void()> in_child = {};                  // before exec: limits, filters
};

struct Outcome {
  int exit_code = -1;  // 128 + signal when a signal ended it
  std::string out;
  std::string err;
};

// Ends it after 60 s, which shows as exit code 137.
Outcome run_program(const std::vector<std::string>& words, const RunOptions& options = {});
Outcome run_stem(const std::vector<std::string>& args, const RunOptions& options = {});

// The same with stdin, stdout and stderr on a terminal; `typed` is entered at once. Everything that the
// screen got is in `out`, with "\n" line ends.
Outcome run_stem_on_terminal(const std::vector<std::string>& args, const std::string& typed = "",
                             const RunOptions& options = {});

std::string stem_path();

class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  // Returns the file's path.
  std::string write(const std::string& name, const std::string& content) const;

 private:
  std::string path_;
};

}  // namespace stem::cli_test
