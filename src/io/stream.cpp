#include "io/stream.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "base/check.hpp"

namespace stem::io {

// Lives as long as the stream or any operation of it: each operation's callback holds it, and with it the buffers
// and the descriptor.
struct Stream::State : std::enable_shared_from_this<State> {
  State(Loop& of, StreamHandlers calls) : loop(of), handlers(std::move(calls)), inbox(kReceiveBytes) {}
  ~State() {
    if (fd >= 0) ::close(fd);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void connect(const Address& to);
  void receive();
  void flush();
  void sent(std::int32_t result);
  void received(std::int32_t result);
  void broken(const std::string& reason);
  void fail(const std::string& reason);
  void end();

  Loop& loop;
  StreamHandlers handlers;
  int fd = -1;
  bool ended = false;
  bool connected = false;
  std::string send_fault;  // not empty: nothing more can be sent
  std::vector<char> inbox;
  std::string outbox;   // being filled
  std::string sending;  // the kernel's, from `sent_bytes` on
  std::size_t sent_bytes = 0;
  OperationId receiving;
  OperationId writing;  // connect or send
};

void Stream::State::connect(const Address& to) {
  STEM_CHECK(fd < 0 && !ended);
  const auto opened = loop.open_socket(to.domain());
  if (!opened.ok()) {
    loop.defer([self = shared_from_this(), reason = opened.error().message] { self->fail(reason); });
    return;
  }
  fd = *opened;
  if (to.domain() != AF_UNIX) {
    // Commands are gathered by us; waiting for more would only cost time.
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  writing = loop.connect(fd, to.storage, to.bytes, [self = shared_from_this(), to = to.text](std::int32_t result) {
    self->writing = {};
    if (self->ended) return;
    if (result < 0) {
      self->fail(fmt::format("connect to {}: {}", to, std::strerror(-result)));
      return;
    }
    self->connected = true;
    self->receive();
    if (self->handlers.connected) self->handlers.connected();
    self->flush();
  });
}

void Stream::State::receive() {
  receiving = loop.receive(fd, inbox, [self = shared_from_this()](std::int32_t result) { self->received(result); });
}

void Stream::State::received(std::int32_t result) {
  receiving = {};
  if (ended) return;
  if (result <= 0 && !send_fault.empty()) return fail(send_fault);
  if (result < 0) return fail(fmt::format("receive: {}", std::strerror(-result)));
  if (result == 0) return fail("the peer closed the connection");
  if (handlers.received) handlers.received({inbox.data(), static_cast<std::size_t>(result)});
  if (!ended) receive();
}

// What the socket has room for goes at once: whoever then waits is not woken to hear that it went. The loop has the rest,
// and what went wrong.
void Stream::State::flush() {
  if (ended || !connected || writing || outbox.empty() || !send_fault.empty()) return;
  const ssize_t went = ::send(fd, outbox.data(), outbox.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  sent_bytes = went > 0 ? static_cast<std::size_t>(went) : 0;
  if (sent_bytes == outbox.size()) {
    outbox.clear();
    sent_bytes = 0;
    return;
  }
  sending.swap(outbox);
  outbox.clear();
  writing = loop.send(fd, std::string_view(sending).substr(sent_bytes),
                      [self = shared_from_this()](std::int32_t result) { self->sent(result); });
}

void Stream::State::sent(std::int32_t result) {
  writing = {};
  if (ended) return;
  if (result < 0) return broken(fmt::format("send: {}", std::strerror(-result)));
  sent_bytes += static_cast<std::size_t>(result);
  if (sent_bytes < sending.size()) {
    writing = loop.send(fd, std::string_view(sending).substr(sent_bytes),
                        [self = shared_from_this()](std::int32_t more) { self->sent(more); });
    return;
  }
  sending.clear();
  sent_bytes = 0;
  flush();
}

// The peer may have said why before it hung up, and that is still to be read: the receiving side ends it, when it has
// come to the end.
void Stream::State::broken(const std::string& reason) {
  send_fault = reason;
  ::shutdown(fd, SHUT_RDWR);  // what has arrived stays readable; then comes the end, for certain
}

// Ends it from the kernel's side: the owner is told.
void Stream::State::fail(const std::string& reason) {
  if (ended) return;
  end();
  if (handlers.closed) handlers.closed(reason);
}

void Stream::State::end() {
  if (ended) return;
  ended = true;
  if (fd >= 0) ::shutdown(fd, SHUT_RDWR);  // the peer learns it now; the descriptor goes with the last operation
  loop.cancel(receiving);
  loop.cancel(writing);
}

Stream::Stream(Loop& loop, StreamHandlers handlers) : state_(std::make_shared<State>(loop, std::move(handlers))) {}
Stream::~Stream() { state_->end(); }
void Stream::connect(const Address& to) { state_->connect(to); }
std::string& Stream::output() { return state_->outbox; }
void Stream::flush() { state_->flush(); }
void Stream::close() { state_->end(); }

std::size_t Stream::unoffered_bytes() const { return state_->outbox.size(); }

std::size_t Stream::unsent_bytes() const { return state_->outbox.size() + state_->sending.size() - state_->sent_bytes; }

}  // namespace stem::io
