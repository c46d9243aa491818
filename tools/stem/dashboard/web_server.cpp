#include "tools/stem/dashboard/web_server.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace stem::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostRequests = 1000;  // of one connection

// As many threads as connections that are served at once. Who comes when all are busy and a few wait makes the server
// stop accepting: the kernel's short queue holds the rest back.
class BoundedPool final : public httplib::TaskQueue {
 public:
  explicit BoundedPool(int threads) : most_waiting_(static_cast<std::size_t>(threads)) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
  }

  void enqueue(std::function<void()> job) override {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [this] { return jobs_.size() < most_waiting_ || stopped_; });
    jobs_.push_back(std::move(job));
    work_.notify_one();
  }

  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    work_.notify_all();
    room_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  // Jobs left over at the end are run, too: each of them is a socket to close.
  void run() {
    for (;;) {
      std::function<void()> job;
      {
        std::unique_lock lock(mutex_);
        work_.wait(lock, [this] { return !jobs_.empty() || stopped_; });
        if (jobs_.empty()) return;
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      room_.notify_one();
      job();
    }
  }

  const std::size_t most_waiting_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable work_, room_;
  std::deque<std::function<void()>> jobs_;
  bool stopped_ = false;
};

// A socket that ends when a request takes too long or has too much to say, however slowly it says it.
class BoundedStream final : public httplib::Stream {
 public:
  BoundedStream(int socket, const WebOptions& options) : socket_(socket), options_(options) { next_request(); }

  void next_request() {
    bytes_left_ = options_.most_request_bytes;
    ends_ = Clock::now() + std::chrono::milliseconds(options_.request_timeout_ms);
  }
  // Something has come, or the client has gone: false when neither happened in time.
  [[nodiscard]] bool wait_for_request() const { return ready(POLLIN, options_.read_timeout_ms); }

  [[nodiscard]] bool is_readable() const override { return ready(POLLIN, left_ms(options_.read_timeout_ms)); }
  [[nodiscard]] bool is_writable() const override { return ready(POLLOUT, left_ms(options_.read_timeout_ms)); }

  // The library asks byte by byte; the socket is asked for more.
  ssize_t read(char* into, std::size_t size) override {
    if (begin_ == end_ && !fill()) return -1;
    const std::size_t count = std::min({size, end_ - begin_, bytes_left_});
    if (count == 0 && size != 0) return end_of_input_ ? 0 : -1;
    std::copy_n(buffer_ + begin_, count, into);
    begin_ += count;
    bytes_left_ -= count;
    return static_cast<ssize_t>(count);
  }

  ssize_t write(const char* from, std::size_t size) override {
    if (!is_writable()) return -1;
    return ::send(socket_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  // Of the next request, read already.
  [[nodiscard]] bool has_buffered() const { return begin_ != end_; }

  void get_remote_ip_and_port(std::string& ip, int& port) const override { address(::getpeername, ip, port); }
  void get_local_ip_and_port(std::string& ip, int& port) const override { address(::getsockname, ip, port); }
  [[nodiscard]] socket_t socket() const override { return socket_; }

 private:
  bool fill() {
    if (bytes_left_ == 0 || !is_readable()) return false;
    const ssize_t got = ::recv(socket_, buffer_, sizeof buffer_, MSG_DONTWAIT);
    if (got < 0) return false;
    end_of_input_ = got == 0;
    begin_ = 0;
    end_ = static_cast<std::size_t>(got);
    return true;
  }

  [[nodiscard]] std::int64_t left_ms(std::int64_t most) const {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(ends_ - Clock::now()).count();
    return std::clamp<std::int64_t>(left, 0, most);
  }

  [[nodiscard]] bool ready(short events, std::int64_t timeout_ms) const {
    pollfd wait{socket_, events, 0};
    int found = 0;
    do {
      found = ::poll(&wait, 1, static_cast<int>(timeout_ms));
    } while (found < 0 && errno == EINTR);
    return found > 0;
  }

  template <class Which>
  void address(Which which, std::string& ip, int& port) const {
    sockaddr_storage storage{};
    socklen_t bytes = sizeof storage;
    if (which(socket_, reinterpret_cast<sockaddr*>(&storage), &bytes) != 0) return;
    char text[INET6_ADDRSTRLEN] = {};
    if (storage.ss_family == AF_INET) {
      const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
      ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
      port = ntohs(v4.sin_port);
    } else if (storage.ss_family == AF_INET6) {
      const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
      ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
      port = ntohs(v6.sin6_port);
    }
    ip = text;
  }

  const int socket_;
  const WebOptions& options_;
  std::size_t bytes_left_ = 0;
  Clock::time_point ends_;
  char buffer_[4096];
  std::size_t begin_ = 0, end_ = 0;
  bool end_of_input_ = false;
};

WebRequest request_of(const httplib::Request& from) {
  WebRequest request;
  request.method = from.method == "HEAD" ? "GET" : from.method;
  request.path = from.path;
  request.parameters.insert(from.params.begin(), from.params.end());
  request.body = from.body;
  request.client = from.remote_addr;
  request.header = [&from](const char* name) { return from.get_header_value(name); };
  request.has_header = [&from](const char* name) { return from.has_header(name); };
  return request;
}

void answer_with(const WebAnswer& answer, httplib::Response& response) {
  response.status = answer.status;
  for (const auto& [name, value] : answer.headers) response.set_header(name, value);
  response.set_content(answer.body, answer.type);
}

// Of the request that this thread serves: its connection ends after the answer, because a body may follow that nobody
// will read.
thread_local bool ends_connection = false;

}  // namespace

class WebServer::Impl final : public httplib::Server {
 public:
  Impl(const WebOptions& options, Admit admit, Handle handle)
      : options_(options), admit_(std::move(admit)), handle_(std::move(handle)) {
    new_task_queue = [this] { return new BoundedPool(options_.threads); };
    set_payload_max_length(options_.most_body_bytes);
    set_tcp_nodelay(true);
    // The library's own choice lets another program listen on the same port, and take every second client.
    set_socket_options([](socket_t socket) {
      const int yes = 1;
      (void)::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    set_keep_alive_max_count(kMostRequests);
    // Everything passes here before a body is read. What has none is answered here as well: the library's own routes
    // are regular expressions, and a path is any text.
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      ends_connection = request.method != "GET" && request.method != "HEAD";
      const WebRequest asked = request_of(request);
      auto refusal = refuse(request);
      if (!refusal) refusal = admit_(asked);
      if (refusal) {
        ends_connection = true;
        refusal->headers["Connection"] = "close";
        answer_with(*refusal, response);
        return HandlerResponse::Handled;
      }
      if (ends_connection) return HandlerResponse::Unhandled;
      answer_with(handle_(asked), response);
      return HandlerResponse::Handled;
    });
    Post(R"(/api/[a-z/]+)", [this](const httplib::Request& request, httplib::Response& response) {
      answer_with(handle_(request_of(request)), response);
    });
    set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
      answer_with({500, "application/json", R"({"error":"internal error"})", {}}, response);
    });
    set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (response.body.empty())
        answer_with({response.status, "application/json", fmt::format(R"({{"error":"HTTP {}"}})", response.status), {}},
                    response);
    });
  }

  ~Impl() override { close(); }

  bool open() {
    port_ = options_.port == 0                           ? bind_to_any_port(options_.host)
            : bind_to_port(options_.host, options_.port) ? options_.port
                                                         : -1;
    if (port_ < 0) return false;
    listener_ = std::thread([this] {
      listen_after_bind();
      ended_ = true;
    });
    // It can be stopped only once it runs.
    while (!is_running() && !ended_) std::this_thread::yield();
    return true;
  }

  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  // What no handler wants to meet.
  static std::optional<WebAnswer> refuse(const httplib::Request& request) {
    const auto no = [](int status, std::string_view why) {
      return WebAnswer{status, "application/json", fmt::format(R"({{"error":"{}"}})", why), {}};
    };
    const bool reads = request.method == "GET" || request.method == "HEAD";
    if (!reads && request.method != "POST") return no(405, "only GET, HEAD and POST");
    if (request.get_header_value_count("Host") > 1) return no(400, "several hosts");
    // Many small ranges of one large answer make a larger one.
    if (!request.ranges.empty()) return no(416, "no ranges");
    if (reads && (request.has_header("Content-Length") || request.has_header("Transfer-Encoding")))
      return no(400, "a body where none belongs");
    // What is small when it comes may be large when it is unpacked.
    if (request.has_header("Content-Encoding")) return no(415, "no compressed bodies");
    return std::nullopt;
  }

  void close() {
    closing_ = true;
    {
      const std::lock_guard lock(mutex_);
      for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
    }
    stop();
    if (listener_.joinable()) listener_.join();
  }

  // One connection, from its first byte to its end.
  bool process_and_close_socket(socket_t socket) override {
    {
      const std::lock_guard lock(mutex_);
      sockets_.insert(socket);
    }
    BoundedStream stream(socket, options_);
    bool goes_on = !closing_;
    for (std::size_t left = kMostRequests; goes_on && left > 0 && (stream.has_buffered() || stream.wait_for_request());
         --left) {
      stream.next_request();
      ends_connection = true;  // where it does not even parse
      bool closed = false;
      const bool good = process_request(stream, closing_ || left == 1, closed, nullptr);
      goes_on = good && !closed && !ends_connection && !closing_;
    }
    {
      const std::lock_guard lock(mutex_);
      sockets_.erase(socket);
    }
    ::shutdown(socket, SHUT_RDWR);
    ::close(socket);
    return true;
  }

  const WebOptions options_;
  const Admit admit_;
  const Handle handle_;
  int port_ = -1;
  std::thread listener_;
  std::atomic<bool> closing_{false};
  std::atomic<bool> ended_{false};
  std::mutex mutex_;
  std::set<int> sockets_;
};

WebServer::WebServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WebServer::~WebServer() = default;
int WebServer::port() const { return impl_->port(); }

bool WebServer::ended() const { return impl_->ended(); }

Result<std::unique_ptr<WebServer>> WebServer::open(const WebOptions& options, Admit admit, Handle handle) {
  auto impl = std::make_unique<Impl>(options, std::move(admit), std::move(handle));
  if (!impl->open())
    return Error{Errc::kRefused, fmt::format("cannot listen on {}:{}: it is taken, or no address of this host",
                                             options.host, options.port)};
  return std::unique_ptr<WebServer>(new WebServer(std::move(impl)));
}

}  // namespace stem::cli
