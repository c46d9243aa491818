#include "run_stem.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace stem::cli_test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kLongest = std::chrono::seconds(60);

[[noreturn]] void become(const std::vector<std::string>& words, const RunOptions& options,
                         const std::string& directory) {
  const std::string path = std::string(STEM_BUILD_BIN_DIR) + ":/usr/local/bin:/usr/bin:/bin";
  clearenv();
  setenv("PATH", path.c_str(), 1);
  setenv("HOME", directory.c_str(), 1);
  setenv("TERM", "xterm", 1);
  for (const auto& [name, value] : options.environment) setenv(name.c_str(), value.c_str(), 1);
  if (chdir(directory.c_str()) != 0) _exit(126);
  if (options.in_child) options.in_child();
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

// Reads until every descriptor ends or time is up; `sinks` go with `descriptors`.
void collect(std::vector<int> descriptors, const std::vector<std::string*>& sinks, pid_t child) {
  const auto deadline = Clock::now() + kLongest;
  std::size_t open_count = descriptors.size();
  while (open_count > 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) {
      kill(child, SIGKILL);
      return;
    }
    std::vector<pollfd> waits;
    for (const int descriptor : descriptors) waits.push_back({descriptor, POLLIN, 0});
    poll(waits.data(), waits.size(), static_cast<int>(left));
    for (std::size_t i = 0; i < waits.size(); ++i) {
      if (waits[i].fd < 0 || waits[i].revents == 0) continue;
      std::array<char, 4096> chunk{};
      const ssize_t got = read(descriptors[i], chunk.data(), chunk.size());
      if (got > 0) {
        sinks[i]->append(chunk.data(), static_cast<std::size_t>(got));
      } else {  // a terminal ends with EIO
        descriptors[i] = -1;
        --open_count;
      }
    }
  }
}

int wait_for(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

std::string stem_path() { return std::string(STEM_BUILD_BIN_DIR) + "/stem"; }

Outcome run_program(const std::vector<std::string>& words, const RunOptions& options) {
  const TemporaryDirectory own;
  const std::string directory = options.directory.empty() ? own.path() : options.directory;
  int out[2];
  int err[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(options.stdout_path.empty() ? out[1] : open(options.stdout_path.c_str(), O_WRONLY), STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    become(words, options, directory);
  }
  close(out[1]);
  close(err[1]);
  Outcome outcome;
  collect({out[0], err[0]}, {&outcome.out, &outcome.err}, child);
  close(out[0]);
  close(err[0]);
  outcome.exit_code = wait_for(child);
  return outcome;
}

Outcome run_stem(const std::vector<std::string>& args, const RunOptions& options) {
  std::vector<std::string> words{stem_path()};
  words.insert(words.end(), args.begin(), args.end());
  return run_program(words, options);
}

Outcome run_stem_on_terminal(const std::vector<std::string>& args, const std::string& typed,
                             const RunOptions& options) {
  const TemporaryDirectory own;
  const std::string directory = options.directory.empty() ? own.path() : options.directory;
  std::vector<std::string> words{stem_path()};
  words.insert(words.end(), args.begin(), args.end());
  winsize size{};
  size.ws_col = 80;
  size.ws_row = 24;
  int terminal = -1;
  const pid_t child = forkpty(&terminal, nullptr, nullptr, &size);
  if (child == 0) become(words, options, directory);
  EXPECT_EQ(write(terminal, typed.data(), typed.size()), static_cast<ssize_t>(typed.size()));
  Outcome outcome;
  std::string screen;
  collect({terminal}, {&screen}, child);
  close(terminal);
  outcome.exit_code = wait_for(child);
  for (const char c : screen) {
    if (c != '\r') outcome.out += c;
  }
  return outcome;
}

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "stem-cli-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryDirectory::write(const std::string& name, const std::string& content) const {
  const std::string path = path_ + "/" + name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

}  // namespace stem::cli_test
