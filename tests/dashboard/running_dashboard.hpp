// The real `stem dashboard` of a scene, on a port of its own, and a browser's side of its connections.
#pragma once

#include <httplib.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/cli/scene.hpp"
#include "tests/support/wait.hpp"

namespace stem::dashboard_test {

inline constexpr const char* kToken = "0123456789abcdef0123456789abcdef";
inline const httplib::Headers kWithToken{{"Authorization", std::string("Bearer ") + kToken}};
// A file with it that nobody else can read.
std::string token_file(const cli_test::TemporaryDirectory& place);

// A program, until it is stopped.
class RunningProgram {
 public:
  explicit RunningProgram(std::vector<std::string> words, const cli_test::RunOptions& options = {});
  ~RunningProgram();  // ends it by its process id
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  [[nodiscard]] int pid() const { return pid_; }
  // The next line that it prints, within patience.
  [[nodiscard]] std::string first_line(std::chrono::milliseconds patience = std::chrono::seconds(20)) const;
  // Until it ends by itself, within patience; its exit code, or 128 + signal.
  int wait();
  // SIGTERM, then the same.
  int stop();

 private:
  int pid_ = -1;
  int output_ = -1;
};

// `stem` with these words, in the scene's directory.
class RunningStem : public RunningProgram {
 public:
  RunningStem(const cli_test::Scene& scene, std::vector<std::string> words);
};

class RunningDashboard {
 public:
  // Started with `--listen 127.0.0.1:0` and these; fails the test when it does not say where it listens.
  explicit RunningDashboard(const cli_test::Scene& scene, const std::vector<std::string>& more = {});

  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] int pid() const { return program_.pid(); }
  [[nodiscard]] const std::string& line() const { return line_; }  // what it said when it was ready
  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

  [[nodiscard]] httplib::Result get(const std::string& path, const httplib::Headers& headers = {}) const;
  [[nodiscard]] httplib::Result post(const std::string& path, const nlohmann::json& body,
                                     const httplib::Headers& headers = {}) const;
  // The document, when it answered 200; fails the test otherwise.
  [[nodiscard]] nlohmann::json json(const std::string& path) const;
  // Waits until the document is as wanted; fails the test, showing it, when that does not happen.
  template <class Wanted>
  nlohmann::json await(const std::string& path, Wanted wanted) const;

  int stop() { return program_.stop(); }

 private:
  RunningStem program_;
  std::string line_;
  int port_ = 0;
};

// A bare connection, for what no well-behaved client sends.
class RawConnection {
 public:
  explicit RawConnection(int port);
  ~RawConnection();
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  // False when the other side has ended it.
  bool send(const std::string& text) const;
  // All that comes until the other side ends it, or nothing came for so long.
  [[nodiscard]] std::string read_all(int patience_ms) const;
  // The other side has ended it, by what was read last.
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  int socket_ = -1;
  mutable bool ended_ = false;
};

template <class Wanted>
nlohmann::json RunningDashboard::await(const std::string& path, Wanted wanted) const {
  nlohmann::json last;
  const bool good = test::wait_until([&] {
    const auto answer = get(path);
    if (!answer || answer->status != 200) return false;
    last = nlohmann::json::parse(answer->body, nullptr, false);
    return !last.is_discarded() && wanted(last);
  });
  EXPECT_TRUE(good) << path << ": " << last.dump(2);
  return last;
}

}  // namespace stem::dashboard_test
