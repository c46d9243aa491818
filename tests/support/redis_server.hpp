// A real redis-server of a test's own: in a scratch directory, on a Unix socket and, when asked, on a free TCP port.
// Nothing of the machine's own Redis is touched, and it ends with the test.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"

namespace stem::test {

class RedisServer {
 public:
  struct Options {
    bool tcp = false;
    std::vector<std::string> arguments;  // as on its command line: {"--requirepass", "x"}
    // Not empty: the lines of its configuration file, which it may rewrite (a Sentinel does).
    std::vector<std::string> configuration = {};
  };

  // Returns when it answers; ends the test program when it does not within ten seconds.
  RedisServer();
  explicit RedisServer(Options options);

  std::string url() const { return "unix://" + socket(); }
  std::string tcp_url() const { return "redis://127.0.0.1:" + std::to_string(port_); }
  std::string socket() const { return directory_.file("redis.sock"); }
  std::string file(const std::string& name) const { return directory_.file(name); }
  std::uint16_t port() const { return port_; }
  pid_t pid() const { return process_.pid(); }

  void stop() const { process_.stop(); }      // SIGSTOP
  void resume() const { process_.resume(); }  // SIGCONT
  void kill() { process_.kill(); }            // SIGKILL
  void restart();                             // after kill(): the same files, socket and port

 private:
  void launch();
  bool answers() const;

  Options options_;
  ScratchDirectory directory_;
  std::uint16_t port_ = 0;
  Process process_;
};

// A TCP port that was free a moment ago.
std::uint16_t free_port();

}  // namespace stem::test
