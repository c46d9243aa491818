// Calls an HTTP server for each task, hundreds of calls at once from one worker process. It starts the server itself,
// one that takes 50 ms for each answer:
//   example_http_proxy [CALLS]
#include <charconv>
#include <chrono>
#include <stdexcept>

#include "stem/co.hpp"
#include "worker_child.hpp"

namespace {

using namespace std::chrono_literals;

struct Call {
  std::uint16_t port = 0;
  std::uint32_t number = 0;
};
constexpr stem::Task<std::string(Call)> kFetch{"http.fetch", {.max_retries = 2, .soft_time_limit = 10s}};

// ---- the server

// One request on a connection; HTTP/1.1 with Connection: close.
stem::Co<> answer(stem::Socket socket) {
  std::string request;
  std::array<char, 4096> buffer;
  while (request.find("\r\n\r\n") == std::string::npos) {
    auto got = co_await socket.read(buffer);
    if (!got || *got == 0 || request.size() > 64 * 1024) co_return;
    request.append(buffer.data(), *got);
  }
  (void)co_await stem::sleep(50ms);
  const std::string body = "You asked for " + request.substr(4, request.find(' ', 4) - 4);
  const std::string text =
      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  (void)co_await socket.write_all(text);
}

stem::Co<> serve(int port_pipe) {
  auto listener = co_await stem::Listener::tcp("127.0.0.1", 0, 1024);
  if (!listener) throw std::runtime_error(listener.error().message);
  const std::uint16_t port = listener->port();
  if (::write(port_pipe, &port, sizeof port) != sizeof port) co_return;
  co_await stem::with_nursery([&](stem::Nursery& nursery) -> stem::Co<> {
    for (;;) {
      auto socket = co_await listener->accept();
      if (!socket) throw std::runtime_error(socket.error().message);
      nursery.start(answer(std::move(*socket)));
    }
  });
}

class Server {
 public:
  Server() {
    int ends[2];
    if (::pipe(ends) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      stem::run_blocking(serve(ends[1]));
      std::_Exit(0);
    }
    if (::read(ends[0], &port_, sizeof port_) != sizeof port_) port_ = 0;
    ::close(ends[0]);
    ::close(ends[1]);
  }
  ~Server() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
  std::uint16_t port() const { return port_; }

 private:
  pid_t pid_ = 0;
  std::uint16_t port_ = 0;
};

// ---- the handler

stem::Co<std::string> fetch(stem::Context&, const Call& call) {
  auto socket = co_await stem::Socket::connect("127.0.0.1", call.port);
  if (!socket) throw std::runtime_error(socket.error().message);
  const std::string request = "GET /" + std::to_string(call.number) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  if (auto sent = co_await socket->write_all(request); !sent) throw std::runtime_error(sent.error().message);
  std::string reply;
  std::array<char, 4096> buffer;
  for (;;) {
    auto got = co_await socket->read(buffer);
    if (!got) throw std::runtime_error(got.error().message);
    if (*got == 0) break;
    reply.append(buffer.data(), *got);
  }
  const std::size_t body = reply.find("\r\n\r\n");
  if (!reply.starts_with("HTTP/1.1 200") || body == std::string::npos) throw std::runtime_error("no good answer");
  co_return reply.substr(body + 4);
}

int complain(const std::string& what) { return std::fprintf(stderr, "%s\n", what.c_str()), 1; }

}  // namespace

int main(int argc, char** argv) {
  std::uint32_t calls = 500;
  if (argc > 1 && std::from_chars(argv[1], argv[1] + std::strlen(argv[1]), calls).ec != std::errc())
    return std::fprintf(stderr, "usage: example_http_proxy [CALLS]\n"), 2;
  const Server server;
  if (server.port() == 0) return complain("the server did not start");
  const WorkerChild child({.concurrency = 1, .banner = false}, [](stem::Worker& worker) { worker.on(kFetch, fetch); });
  auto client = stem::Client::open(child.name_space());
  if (!client) return complain(client.error().message);
  const auto start = std::chrono::steady_clock::now();
  std::vector<stem::Handle<std::string>> handles;
  for (std::uint32_t i = 0; i < calls; ++i) {
    auto handle = client->enqueue(kFetch, {server.port(), i}, {.full_timeout = 60s});
    if (!handle) return complain(handle.error().message);
    handles.push_back(std::move(*handle));
  }
  std::uint32_t right = 0;
  for (std::uint32_t i = 0; i < calls; ++i) {
    auto body = handles[i].get(60s);
    if (!body) return complain(body.error().message);
    right += *body == "You asked for /" + std::to_string(i);
  }
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
  std::printf("%u calls, %u right, in %lld ms; one after the other they take %u ms\n", calls, right,
              static_cast<long long>(took.count()), calls * 50);
  return right == calls ? 0 : 1;
}
