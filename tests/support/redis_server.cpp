#include "tests/support/redis_server.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

#include "tests/support/wait.hpp"

namespace stem::test {

std::uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof(address);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), bytes) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
    std::perror("a free port");
    std::abort();
  }
  ::close(fd);
  return ntohs(address.sin_port);
}

RedisServer::RedisServer() : RedisServer(Options{}) {}

RedisServer::RedisServer(Options options) : options_(std::move(options)) {
  if (options_.tcp) port_ = free_port();
  launch();
}

void RedisServer::restart() { launch(); }

void RedisServer::launch() {
  std::vector<std::string> words{"redis-server",
                                 "--port",
                                 std::to_string(port_),
                                 "--bind",
                                 "127.0.0.1",
                                 "--unixsocket",
                                 socket(),
                                 "--dir",
                                 directory_.path(),
                                 "--daemonize",
                                 "no",
                                 "--save",
                                 "",
                                 "--appendonly",
                                 "no"};
  if (!options_.configuration.empty()) {
    const std::string path = directory_.file("redis.conf");
    std::ofstream file(path);
    for (const std::string& line : options_.configuration) file << line << '\n';
    words.insert(words.begin() + 1, path);
  }
  words.insert(words.end(), options_.arguments.begin(), options_.arguments.end());
  ::unlink(socket().c_str());
  process_ = Process([&] {
    const int log = ::open(file("redis.log").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    return 127;
  });
  if (!wait_until([this] { return answers(); })) {
    std::fprintf(stderr, "redis-server does not answer; its log: %s\n", file("redis.log").c_str());
    std::abort();
  }
}

// Any answer will do: "-NOAUTH" and "-LOADING" come from a server that is there.
bool RedisServer::answers() const {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket().c_str(), sizeof(address.sun_path) - 1);
  char byte = 0;
  const bool answered = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
                        ::send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 && ::read(fd, &byte, 1) == 1;
  ::close(fd);
  return answered;
}

}  // namespace stem::test
