// beanstalkd through a client of our own: the protocol is lines of text, and takes commands in a row.
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "bench/failure.hpp"
#include "bench/journal.hpp"
#include "bench/peer.hpp"
#include "bench/server_process.hpp"

namespace stem::bench {

namespace {

class BeanstalkdClient {
 public:
  explicit BeanstalkdClient(const std::string& socket_path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket_path.size() >= sizeof address.sun_path) throw Failure("beanstalkd: path too long: " + socket_path);
    std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
    fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd_ < 0) fail_with_errno("socket");
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return;
    const int error = errno;
    close(fd_);
    errno = error;
    fail_with_errno("connect to " + socket_path);
  }
  ~BeanstalkdClient() { close(fd_); }
  BeanstalkdClient(const BeanstalkdClient&) = delete;
  BeanstalkdClient& operator=(const BeanstalkdClient&) = delete;

  void append(std::string_view text) { out_ += text; }

  void flush() {
    for (std::size_t sent = 0; sent < out_.size();) {
      const ssize_t n = send(fd_, out_.data() + sent, out_.size() - sent, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail_with_errno("send to beanstalkd");
      sent += static_cast<std::size_t>(n);
    }
    out_.clear();
  }

  // One line without its end. Valid until the next call.
  std::string_view line() {
    std::size_t end = in_.find("\r\n", at_);
    while (end == std::string::npos) {
      receive();
      end = in_.find("\r\n", at_);
    }
    const std::string_view text(in_.data() + at_, end - at_);
    at_ = end + 2;
    return text;
  }

  // That many bytes and the line end behind them. Valid until the next call.
  std::string_view body(std::size_t bytes) {
    while (in_.size() - at_ < bytes + 2) receive();
    const std::string_view text(in_.data() + at_, bytes);
    at_ += bytes + 2;
    return text;
  }

 private:
  void receive() {
    in_.erase(0, at_);
    at_ = 0;
    const std::size_t had = in_.size();
    in_.resize(had + 65536);
    ssize_t n = -1;
    do {
      n = recv(fd_, in_.data() + had, 65536, 0);
    } while (n < 0 && errno == EINTR);
    in_.resize(had + static_cast<std::size_t>(n > 0 ? n : 0));
    if (n < 0) fail_with_errno("receive from beanstalkd");
    if (n == 0) throw Failure("beanstalkd closed the connection");
  }

  int fd_ = -1;
  std::string out_;
  std::string in_;
  std::size_t at_ = 0;  // what stands before it has been used
};

// Where its binlog lies, and how often that is synced; no binlog without a directory.
struct Binlog {
  std::string directory;
  int fsync_ms = 0;
};

class BeanstalkdServer {
 public:
  BeanstalkdServer(std::uint32_t payload_bytes, const Binlog& binlog)
      : directory_(binlog.directory),
        socket_(directory_.path() + "/beanstalkd.sock"),
        process_(command(payload_bytes, binlog), directory_.path() + "/beanstalkd.log", [this] { return answers(); }) {}

  const std::string& socket() const noexcept { return socket_; }

 private:
  std::vector<std::string> command(std::uint32_t payload_bytes, const Binlog& binlog) const {
    std::vector<std::string> words{find_program("beanstalkd").value(), "-l", "unix:" + socket_, "-z",
                                   std::to_string(std::max<std::uint32_t>(payload_bytes, 65535))};
    if (binlog.directory.empty()) return words;
    words.insert(words.end(), {"-b", directory_.path(), "-f", std::to_string(binlog.fsync_ms)});
    return words;
  }
  bool answers() const {
    try {
      BeanstalkdClient client(socket_);
      client.append("use default\r\n");
      client.flush();
      return client.line() == "USING default";
    } catch (const Failure&) {
      return false;  // not listening yet
    }
  }

  TemporaryDirectory directory_;
  std::string socket_;
  ServerProcess process_;
};

std::uint64_t number_of(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Failure(fmt::format("beanstalkd: not a number: {}", text));
  }
  return value;
}

[[noreturn]] void refuse(std::string_view answer) { throw Failure(fmt::format("beanstalkd answered {}", answer)); }

void produce(BeanstalkdClient& client, const Work& work, std::uint64_t pipeline) {
  std::vector<char> payload(work.payload_bytes);
  const std::string put = fmt::format("put 0 0 120 {}\r\n", work.payload_bytes);
  for (std::uint64_t sent = 0; sent < work.tasks;) {
    const std::uint64_t batch = std::min(pipeline, work.tasks - sent);
    for (std::uint64_t i = 0; i < batch; ++i) {
      write_payload(sent + i, payload);
      client.append(put);
      client.append({payload.data(), payload.size()});
      client.append("\r\n");
    }
    client.flush();
    for (std::uint64_t i = 0; i < batch; ++i) {
      const std::string_view answer = client.line();
      if (!answer.starts_with("INSERTED ")) refuse(answer);
    }
    sent += batch;
  }
}

// Deletes what is held and reserves more in one round trip. A reserve waits in the server until there is a
// task, and never more are asked for than are still to come.
void consume(BeanstalkdClient& client, const Work& work, std::uint64_t pipeline) {
  TaskLedger ledger(work.tasks, work.payload_bytes);
  std::vector<std::uint64_t> held;
  while (ledger.seen() < work.tasks || !held.empty()) {
    const std::uint64_t wanted = std::min(pipeline, work.tasks - ledger.seen());
    for (const std::uint64_t id : held) client.append(fmt::format("delete {}\r\n", id));
    for (std::uint64_t i = 0; i < wanted; ++i) client.append("reserve\r\n");
    client.flush();
    for (std::size_t i = 0; i < held.size(); ++i) {
      const std::string_view answer = client.line();
      if (answer != "DELETED") refuse(answer);
    }
    held.clear();
    for (std::uint64_t i = 0; i < wanted; ++i) {
      constexpr std::string_view kReserved = "RESERVED ";
      const std::string_view answer = client.line();
      if (!answer.starts_with(kReserved)) refuse(answer);
      const std::size_t space = answer.find(' ', kReserved.size());
      if (space == std::string_view::npos) refuse(answer);
      held.push_back(number_of(answer.substr(kReserved.size(), space - kReserved.size())));
      const std::uint64_t bytes = number_of(answer.substr(space + 1));
      ledger.mark(client.body(bytes));
    }
  }
}

// Of the server's statistics, which come as YAML.
std::uint64_t statistic(std::string_view stats, std::string_view name) {
  const std::string key = fmt::format("\n{}: ", name);
  const std::size_t at = stats.find(key);
  if (at == std::string_view::npos) throw Failure(fmt::format("beanstalkd: no statistic {}", name));
  const std::size_t from = at + key.size();
  return number_of(stats.substr(from, stats.find('\n', from) - from));
}

void expect_done(const std::string& socket, const Work& work) {
  BeanstalkdClient client(socket);
  client.append("stats\r\n");
  client.flush();
  const std::string_view answer = client.line();
  if (!answer.starts_with("OK ")) refuse(answer);
  const std::string_view stats = client.body(number_of(answer.substr(3)));
  const std::uint64_t left = statistic(stats, "current-jobs-ready") + statistic(stats, "current-jobs-reserved") +
                             statistic(stats, "current-jobs-buried") + statistic(stats, "current-jobs-delayed");
  if (left != 0) throw Failure(fmt::format("beanstalkd: {} jobs are left", left));
  const std::uint64_t total = statistic(stats, "total-jobs");
  if (total != work.tasks) throw Failure(fmt::format("beanstalkd: counted {} jobs of {}", total, work.tasks));
}

PeerResult run(const std::string& name, const Work& work, std::uint64_t pipeline, const Binlog& binlog = {}) {
  const BeanstalkdServer server(work.payload_bytes, binlog);
  const PeerResult result = run_sides(
      name, work,
      [&]() -> std::function<void()> {
        auto client = std::make_shared<BeanstalkdClient>(server.socket());
        return [&work, pipeline, client] { produce(*client, work, pipeline); };
      },
      [&]() -> std::function<void()> {
        auto client = std::make_shared<BeanstalkdClient>(server.socket());
        return [&work, pipeline, client] { consume(*client, work, pipeline); };
      });
  expect_done(server.socket(), work);
  return result;
}

Peer peer(const char* key, const char* name, const char* how, std::uint64_t pipeline) {
  Peer one;
  one.key = key;
  one.name = name;
  one.how = how;
  one.missing = [] { return find_program("beanstalkd") ? std::string() : std::string("beanstalkd is not installed"); };
  one.run = [pipeline, label = one.name](const Work& work) { return run(label, work, pipeline); };
  return one;
}

}  // namespace

std::vector<Peer> beanstalkd_peers() {
  return {peer("beanstalkd_100", "beanstalkd, by 100", "put; reserve, delete; pipelined by 100", 100),
          peer("beanstalkd_1", "beanstalkd, one by one", "put; reserve, delete in one round trip", 1)};
}

Peer beanstalkd_binlog(const std::string& directory, int fsync_ms) {
  const std::string how = fsync_ms == 0 ? "synced always" : fmt::format("synced every {} ms", fsync_ms);
  Peer one = peer(fsync_ms == 0 ? "beanstalkd_binlog_always" : "beanstalkd_binlog", "", "", 100);
  one.name = "beanstalkd, binlog " + how;
  one.how = "put; reserve, delete; pipelined by 100; binlog " + how;
  one.run = [directory, fsync_ms, label = one.name](const Work& work) {
    return run(label, work, 100, {directory, fsync_ms});
  };
  return one;
}

}  // namespace stem::bench
