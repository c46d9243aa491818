#include "bench/peer_script.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <memory>

#include "bench/failure.hpp"

namespace stem::bench {

namespace {

// Belongs to the process of one side, which ends without destructors: the script dies with it.
class Script {
 public:
  Script(const std::string& name, const std::vector<std::string>& command) : name_(name) {
    int in[2], out[2], err[2];
    for (int* ends : {in, out, err})
      if (pipe2(ends, O_CLOEXEC) != 0) fail_with_errno("pipe");
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) fail_with_errno("fork");
    if (pid_ == 0) become(command, {in[0], out[1], err[1]}, parent);
    for (const int end : {in[0], out[1], err[1]}) close(end);
    to_ = in[1];
    from_ = out[0];
    errors_ = err[0];
  }

  void expect_line(const std::string& expected) {
    const std::string line = read_line(from_);
    if (line == expected) return;
    const std::string reason = read_line(errors_);
    throw Failure(fmt::format("{}: {}", name_, !reason.empty() ? reason : "it ended, or said '" + line + "'"));
  }
  void go() const {
    if (write(to_, "go\n", 3) != 3) fail_with_errno("write to " + name_);
  }

 private:
  [[noreturn]] static void become(const std::vector<std::string>& command, std::array<int, 3> fds, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    for (int fd = 0; fd < 3; ++fd) dup2(fds[static_cast<std::size_t>(fd)], fd);
    std::vector<char*> argv;
    for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(127);
  }

  // Byte by byte: there are two lines.
  static std::string read_line(int fd) {
    std::string line;
    for (char c = 0; read(fd, &c, 1) == 1 && c != '\n';) line += c;
    return line;
  }

  std::string name_;
  pid_t pid_ = 0;
  int to_ = -1, from_ = -1, errors_ = -1;
};

}  // namespace

Side script_side(const std::string& name, std::vector<std::string> command, std::uint64_t tasks) {
  return [name, command = std::move(command), tasks]() -> std::function<void()> {
    auto script = std::make_shared<Script>(name, command);
    script->expect_line("ready");
    return [script, tasks] {
      script->go();
      script->expect_line(fmt::format("done {}", tasks));
    };
  };
}

std::string peer_directory(const std::string& name) { return std::string(STEM_BENCH_SOURCE_DIR) + "/peers/" + name; }

}  // namespace stem::bench
