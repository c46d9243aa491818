#include "running_dashboard.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

namespace stem::dashboard_test {
namespace {

constexpr int kPatienceMs = 20'000;

std::vector<std::string> dashboard_words(const std::vector<std::string>& more) {
  std::vector<std::string> words{"dashboard", "--listen", "127.0.0.1:0"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

std::string token_file(const cli_test::TemporaryDirectory& place) {
  const std::string path = place.write("token", std::string(kToken) + "\n");
  std::filesystem::permissions(path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  return path;
}

RunningProgram::RunningProgram(std::vector<std::string> words, const cli_test::RunOptions& options) {
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) std::abort();
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out[1], STDOUT_FILENO);
    clearenv();
    setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
    for (const auto& [name, value] : options.environment) setenv(name.c_str(), value.c_str(), 1);
    if (!options.directory.empty() && chdir(options.directory.c_str()) != 0) _exit(126);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  close(out[1]);
  output_ = out[0];
}

RunningProgram::~RunningProgram() {
  (void)stop();
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(output_);
}

std::string RunningProgram::first_line(std::chrono::milliseconds patience) const {
  std::string line;
  for (;;) {
    pollfd wait{output_, POLLIN, 0};
    char c = 0;
    if (poll(&wait, 1, static_cast<int>(patience.count())) <= 0 || read(output_, &c, 1) != 1 || c == '\n') return line;
    line += c;
  }
}

int RunningProgram::wait() {
  if (pid_ <= 0) return -1;
  int status = 0;
  const bool ended = test::wait_until([&] { return waitpid(pid_, &status, WNOHANG) == pid_; });
  if (!ended) return -1;
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int RunningProgram::stop() {
  if (pid_ > 0) kill(pid_, SIGTERM);
  return wait();
}

namespace {

std::vector<std::string> stem_words(std::vector<std::string> words) {
  words.insert(words.begin(), cli_test::stem_path());
  return words;
}

cli_test::RunOptions options_in(const cli_test::Scene& scene) {
  cli_test::RunOptions options = scene.options();
  options.directory = scene.directory();
  return options;
}

}  // namespace

RunningStem::RunningStem(const cli_test::Scene& scene, std::vector<std::string> words)
    : RunningProgram(stem_words(std::move(words)), options_in(scene)) {}

RunningDashboard::RunningDashboard(const cli_test::Scene& scene, const std::vector<std::string>& more)
    : program_(scene, dashboard_words(more)), line_(program_.first_line()) {
  const std::size_t colon = line_.find("127.0.0.1:");
  if (colon == std::string::npos) {
    ADD_FAILURE() << "the dashboard said: " << line_;
    return;
  }
  port_ = std::atoi(line_.c_str() + colon + 10);
}

httplib::Result RunningDashboard::get(const std::string& path, const httplib::Headers& headers) const {
  httplib::Client client("127.0.0.1", port_);
  client.set_read_timeout(20);
  return client.Get(path, headers);
}

httplib::Result RunningDashboard::post(const std::string& path, const nlohmann::json& body,
                                       const httplib::Headers& headers) const {
  httplib::Client client("127.0.0.1", port_);
  client.set_read_timeout(20);
  return client.Post(path, headers, body.dump(), "application/json");
}

nlohmann::json RunningDashboard::json(const std::string& path) const {
  const auto answer = get(path);
  if (!answer) {
    ADD_FAILURE() << path << ": no answer";
    return {};
  }
  EXPECT_EQ(answer->status, 200) << path << answer->body;
  auto document = nlohmann::json::parse(answer->body, nullptr, false);
  EXPECT_FALSE(document.is_discarded()) << answer->body;
  return document;
}

RawConnection::RawConnection(int port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
}

RawConnection::~RawConnection() { close(socket_); }

bool RawConnection::send(const std::string& text) const {
  return ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

std::string RawConnection::read_all(int patience_ms) const {
  std::string all;
  for (;;) {
    pollfd wait{socket_, POLLIN, 0};
    if (poll(&wait, 1, patience_ms) <= 0) return all;
    char chunk[4096];
    const ssize_t got = recv(socket_, chunk, sizeof chunk, 0);
    ended_ = got <= 0;
    if (ended_) return all;
    all.append(chunk, static_cast<std::size_t>(got));
  }
}

}  // namespace stem::dashboard_test
