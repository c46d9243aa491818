#include "federation/redis_connection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/units.hpp"
#include "federation/backoff.hpp"
#include "federation/client_fence.hpp"
#include "federation/cluster_nodes.hpp"
#include "federation/greeting.hpp"
#include "federation/pipeline.hpp"
#include "federation/reply_reader.hpp"
#include "federation/sentinel.hpp"
#include "io/stream.hpp"

namespace stem::federation {
namespace {

constexpr std::size_t kSendAtBytes = 64 * 1024;    // does not wait for the turn's end
constexpr std::size_t kProgressBytes = 16 * 1024;  // of one long reply: worth as much as a whole one
constexpr std::int64_t kLongestBlockNs = 86'400'000'000'000;
constexpr std::int64_t kSteadyNs = 5'000'000'000;  // a session that lived as long has earned a quick reconnect

bool same_word(std::string_view word, std::string_view upper) {
  return std::equal(word.begin(), word.end(), upper.begin(), upper.end(),
                    [](char a, char b) { return (a >= 'a' && a <= 'z' ? a - 'a' + 'A' : a) == b; });
}

bool subscribes(std::span<const std::string_view> argv) {
  return same_word(argv[0], "SUBSCRIBE") || same_word(argv[0], "PSUBSCRIBE") || same_word(argv[0], "SSUBSCRIBE");
}

bool is_message(const Reply& reply) {
  if (!reply.is_array() || reply.elements.size() < 3) return false;
  const std::string_view kind = reply.elements[0].text;
  return kind == "message" || kind == "pmessage" || kind == "smessage";
}

}  // namespace

class RedisConnection::Impl {
 public:
  Impl(io::Loop& loop, RedisOptions options, RedisEvents events);
  ~Impl();

  void start();
  void stop();
  Queued command(std::span<const std::string_view> argv, ReplyHandler handler, std::int64_t block_ns);
  // Ends this connection, whatever it is at; the next attempt comes by itself.
  void fault(const std::string& reason);

  State state = State::kStopped;
  Session session;
  std::string last_fault;
  Pipeline pipeline;
  const RedisOptions options;

  std::size_t commands_in_flight() const { return pipeline.size() + for_aside_.size() + aside_outstanding_; }
  std::size_t bytes_in_flight() const {
    return pipeline.bytes() + for_aside_bytes_ + (aside_ ? aside_->bytes_in_flight() : 0);
  }

 private:
  // An attempt to connect, from the first step to the back-off.
  void attempt();
  void found(Result<std::vector<io::Address>> addresses);
  void connect_next();
  void connected();
  void closed(const std::string& reason);
  void greet();
  void greeted(Result<Session> result);
  void learn_nodes();
  void follow(const Reply& reply);

  // Commands that another node is to be asked, while a slot is on its way there.
  bool ask_elsewhere(const Reply& reply, Pipeline::Answered& command);
  void open_aside(const NodeAddress& at);
  void aside_ready();
  void say_aside();
  void close_aside(const std::string& reason);
  bool aside_is_idle() const { return for_aside_.empty() && aside_outstanding_ == 0; }

  // Bytes.
  std::string& output() { return tls_ ? plain_ : stream_->output(); }
  void queue(std::span<const std::string_view> argv, ReplyHandler handler, std::int64_t block_ns = 0);
  void queue_raw(std::string_view command, ReplyHandler handler, std::int64_t block_ns);
  void queued(bool first);
  void flush_soon();
  void flush();
  void received(std::string_view bytes);
  void received_tls(std::string_view cipher);
  void read(std::string_view bytes);
  bool take(const Reply& reply);
  bool end_if_moved();
  void tell_room();

  // The end.
  std::uint64_t offered_bytes() const;
  void close_all();
  void back_off(const std::string& reason);

  // The watchdog.
  std::int64_t watch_due_ns() const;
  void watch();
  void tend_watch();

  io::Loop& loop_;
  RedisEvents events_;
  Backoff backoff_;
  // Deferred calls and look-ups cannot be called off: they look here first.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::uint64_t attempt_ = 0;
  std::uint64_t sessions_ = 0;
  std::optional<SessionIdentity> previous_;

  std::vector<io::Address> addresses_;
  std::unique_ptr<io::Stream> stream_;
  std::shared_ptr<TlsSession> tls_;
  std::string plain_;  // on its way into TLS
  std::unique_ptr<ReplyReader> reader_;
  std::unique_ptr<Greeting> greeting_;
  std::unique_ptr<SentinelQuery> sentinels_;
  std::size_t sentinel_that_knew_ = 0;
  std::string host_;                   // that we connect to
  std::optional<ClusterNodes> nodes_;  // when we follow a slot
  bool moved_ = false;                 // this server has it no more

  // The other node, as long as it is asked.
  struct Aside {
    Pipeline::Answered command;
    std::string said;  // the ASK, for when that node cannot be reached
  };
  std::unique_ptr<RedisConnection> aside_;
  NodeAddress aside_at_;
  bool aside_fenced_ = false;  // nobody before us says anything there any more
  std::deque<Aside> for_aside_;
  std::size_t for_aside_bytes_ = 0;
  std::size_t aside_outstanding_ = 0;  // said there, and not answered
  bool aside_lost_ = false;            // one of them never will be

  bool flush_deferred_ = false;
  bool subscribed_ = false;
  bool room_wanted_ = false;
  std::int64_t ready_ns_ = 0;
  std::int64_t progress_ns_ = 0;
  std::size_t progress_bytes_ = 0;
  std::uint64_t timed_end_ = 0;  // Pipeline::pushed_bytes() with the command whose round trip is taken; 0 = none
  std::int64_t timed_ns_ = 0;
  io::TimerId greeting_timer_;
  io::TimerId backoff_timer_;
  io::TimerId watch_timer_;
};

RedisConnection::Impl::Impl(io::Loop& loop, RedisOptions given, RedisEvents events)
    : pipeline(/*keeps_commands=*/given.follows_ask),
      options(std::move(given)),
      loop_(loop),
      events_(std::move(events)),
      backoff_(options.backoff_base_ns, options.backoff_max_ns,
               options.seed != 0 ? options.seed : static_cast<std::uint64_t>(base::monotonic_ns())),
      previous_(options.predecessor) {
  if (options.follows_slot && !options.url.is_unix()) nodes_.emplace(NodeAddress{options.url.host, options.url.port});
}

RedisConnection::Impl::~Impl() {
  *alive_ = false;
  close_all();
}

void RedisConnection::Impl::start() {
  if (state != State::kStopped) return;
  backoff_.reset();
  attempt();
}

void RedisConnection::Impl::attempt() {
  const std::uint64_t number = ++attempt_;
  state = State::kResolving;
  host_ = options.url.host;
  greeting_timer_ = loop_.call_at(base::monotonic_ns() + options.greeting_timeout_ns, [this] {
    const bool shaking_hands = tls_ && !tls_->established();
    fault(fmt::format("{} was not ready within {} (still {})", options.url.shown(),
                      base::human_duration(options.greeting_timeout_ns),
                      shaking_hands ? "shaking hands for TLS" : to_string(state)));
  });
  const auto when_found = [this, number, alive = alive_](Result<std::vector<io::Address>> addresses) {
    if (*alive && attempt_ == number && state == State::kResolving) found(std::move(addresses));
  };
  if (options.url.has_sentinels()) {
    sentinels_ = std::make_unique<SentinelQuery>(
        loop_, options, sentinel_that_knew_, [this, when_found](Result<SentinelAnswer> answer) {
          if (!answer.ok()) return fault(answer.error().message);
          sentinel_that_knew_ = answer->sentinel;
          host_ = answer->master.host;
          sentinels_.reset();
          io::resolve(loop_, answer->master.host, answer->master.port, when_found);
        });
    return sentinels_->start();
  }
  if (nodes_) {
    host_ = nodes_->current().host;
    return io::resolve(loop_, host_, nodes_->current().port, when_found);
  }
  if (!options.url.is_unix()) return io::resolve(loop_, options.url.host, options.url.port, when_found);
  loop_.defer([when_found, path = options.url.socket_path] {
    auto address = io::unix_address(path);
    if (address.ok()) {
      when_found(std::vector<io::Address>{*std::move(address)});
    } else {
      when_found(address.error());
    }
  });
}

void RedisConnection::Impl::found(Result<std::vector<io::Address>> addresses) {
  if (!addresses.ok()) return fault(addresses.error().message);
  addresses_ = *std::move(addresses);
  std::reverse(addresses_.begin(), addresses_.end());  // taken from the back
  state = State::kConnecting;
  connect_next();
}

void RedisConnection::Impl::connect_next() {
  const io::Address address = std::move(addresses_.back());
  addresses_.pop_back();
  stream_ = std::make_unique<io::Stream>(
      loop_, io::StreamHandlers{.connected = [this] { connected(); },
                                .received = [this](std::string_view bytes) { received(bytes); },
                                .closed = [this](const std::string& reason) { closed(reason); }});
  stream_->connect(address);
}

void RedisConnection::Impl::closed(const std::string& reason) {
  if (state == State::kConnecting && !addresses_.empty()) return connect_next();  // the name has another address
  fault(reason);
}

void RedisConnection::Impl::connected() {
  state = State::kGreeting;
  reader_ = std::make_unique<ReplyReader>(options.max_reply_bytes);
  subscribed_ = false;
  if (!options.url.tls) return greet();
  auto made = TlsSession::create(options.tls, host_);
  if (!made.ok()) return fault(made.error().message);
  tls_ = *std::move(made);
  if (auto started = tls_->start(stream_->output()); !started.ok()) return fault(started.error().message);
  stream_->flush();
}

void RedisConnection::Impl::greet() {
  greeting_ = std::make_unique<Greeting>(
      options, previous_,
      [this](std::span<const std::string_view> argv, ReplyHandler handler) { queue(argv, std::move(handler)); },
      [this](Result<Session> result) { greeted(std::move(result)); });
  greeting_->start();
}

void RedisConnection::Impl::greeted(Result<Session> result) {
  if (!result.ok()) return fault(result.error().message);
  loop_.cancel(std::exchange(greeting_timer_, {}));
  session = *std::move(result);
  session.number = ++sessions_;
  previous_ = session.identity;
  state = State::kReady;
  last_fault.clear();
  ready_ns_ = progress_ns_ = base::monotonic_ns();
  tend_watch();
  if (nodes_) learn_nodes();
  if (!options.quiet)
    log::info("redis connected", {{"url", options.url.shown()},
                                  {"version", session.version},
                                  {"client_id", session.identity.client_id},
                                  {"tls", options.url.tls}});
  if (events_.ready) events_.ready(session);
}

void RedisConnection::Impl::learn_nodes() {
  const std::string_view ask[] = {"CLUSTER", "NODES"};
  queue(ask, [this](const Reply& reply) {
    if (reply.is_text()) nodes_->learn_from(reply.text);
  });
}

// The rest of what was sent is answered, in the same words; then the next connection goes there.
void RedisConnection::Impl::follow(const Reply& reply) {
  const auto to = parse_redirect(reply.text);
  if (!to.ok()) return;
  nodes_->move_to({to->host.empty() ? host_ : to->host, to->port});
  moved_ = true;
}

Queued RedisConnection::Impl::command(std::span<const std::string_view> argv, ReplyHandler handler,
                                      std::int64_t block_ns) {
  if (state != State::kReady || moved_) return Queued::kNotReady;
  if (bytes_in_flight() >= options.max_in_flight_bytes) {
    room_wanted_ = true;
    return Queued::kNoRoom;
  }
  subscribed_ = subscribed_ || subscribes(argv);
  queue(argv, std::move(handler), block_ns);
  return Queued::kYes;
}

void RedisConnection::Impl::queue(std::span<const std::string_view> argv, ReplyHandler handler, std::int64_t block_ns) {
  const bool first = pipeline.empty();
  pipeline.push(output(), argv, std::move(handler), std::clamp<std::int64_t>(block_ns, 0, kLongestBlockNs));
  queued(first);
}

void RedisConnection::Impl::queue_raw(std::string_view command, ReplyHandler handler, std::int64_t block_ns) {
  const bool first = pipeline.empty();
  pipeline.push(output(), command, std::move(handler), block_ns);
  queued(first);
}

void RedisConnection::Impl::queued(bool first) {
  // Not behind one that blocks: the wait would be the server's right.
  if (timed_end_ == 0 && events_.round_trip && state == State::kReady && !pipeline.blocks()) {
    timed_end_ = pipeline.pushed_bytes();
    timed_ns_ = base::monotonic_ns();
  }
  if (first && state == State::kReady) {
    progress_ns_ = base::monotonic_ns();
    tend_watch();
  }
  if (output().size() >= kSendAtBytes) {
    flush();
  } else {
    flush_soon();
  }
}

// ---- asked elsewhere

// The command was not carried out here. False when its handler is to hear so.
bool RedisConnection::Impl::ask_elsewhere(const Reply& reply, Pipeline::Answered& command) {
  const auto to = parse_redirect(reply.text);
  if (!to.ok() || moved_) return false;
  const NodeAddress at{to->host.empty() ? host_ : to->host, to->port};
  if (aside_ && aside_at_ != at) {
    if (!aside_is_idle()) return false;  // the slot was on its way to another node before
    close_aside("the slot goes elsewhere");
    aside_.reset();
  }
  if (!aside_) open_aside(at);
  for_aside_bytes_ += command.command.size();
  for_aside_.push_back({std::move(command), std::string(reply.text)});
  aside_->start();  // unless it is there already
  say_aside();
  return true;
}

void RedisConnection::Impl::open_aside(const NodeAddress& at) {
  RedisOptions there = options;
  there.follows_slot = there.follows_ask = false;
  there.predecessor.reset();
  there.url.socket_path.clear();
  there.url.host = at.host;
  there.url.port = at.port;
  RedisEvents events;
  events.ready = [this](const Session&) { aside_ready(); };
  // What was said there and not answered is lost by now, and read back: as when this connection ends. With nothing on
  // its way, nothing is lost: that node is asked anew when it is named again.
  events.lost = [this](const std::string& reason) {
    aside_fenced_ = false;
    loop_.defer([this, alive = alive_, number = attempt_, lost = std::exchange(aside_lost_, false), reason] {
      if (!*alive || attempt_ != number) return;
      if (lost) return fault(fmt::format("the node that was asked for this slot: {}", reason));
      if (aside_ && aside_is_idle()) aside_->stop();
    });
  };
  // Nobody is there: the same as without that node.
  events.failed = [this](const std::string&) {
    for_aside_bytes_ = 0;
    for (Aside& one : std::exchange(for_aside_, {})) {
      Reply ask;
      ask.kind = Reply::Kind::kError;
      ask.error = RedisError::kAsk;
      ask.text = one.said;
      if (one.command.handler) one.command.handler(ask);
    }
  };
  aside_at_ = at;
  aside_ = std::make_unique<RedisConnection>(loop_, std::move(there), std::move(events));
}

// Our own connection before this one has ended by now. Those of processes before us end here.
void RedisConnection::Impl::aside_ready() {
  if (options.fence_others.empty()) {
    aside_fenced_ = true;
    return say_aside();
  }
  (void)aside_->command({"CLIENT", "LIST"}, [this](const Reply& reply) {
    if (reply.error == RedisError::kLost || reply.error == RedisError::kNotSent) return;
    if (reply.is_text())
      for (const std::string& id : clients_to_fence(reply.text, options.fence_others, options.fence_own))
        (void)aside_->command({"CLIENT", "KILL", "ID", id}, nullptr);
    aside_fenced_ = true;
    say_aside();
  });
}

void RedisConnection::Impl::say_aside() {
  constexpr std::string_view kAsking = "*1\r\n$6\r\nASKING\r\n";
  if (!aside_fenced_ || !aside_->is_ready()) return;
  while (!for_aside_.empty()) {
    Pipeline::Answered one = std::move(for_aside_.front().command);
    for_aside_.pop_front();
    for_aside_bytes_ -= one.command.size();
    ++aside_outstanding_;
    aside_->impl_->queue_raw(kAsking, nullptr, 0);
    aside_->impl_->queue_raw(
        one.command,
        [this, handler = std::move(one.handler)](const Reply& reply) {
          --aside_outstanding_;
          aside_lost_ = aside_lost_ || reply.error == RedisError::kLost;
          if (handler) handler(reply);
          if (state == State::kReady && !end_if_moved()) tell_room();
        },
        one.block_ns);
  }
}

// All handlers are called. What is said there later comes after the end of what was said.
void RedisConnection::Impl::close_aside(const std::string& reason) {
  if (!aside_) return;
  aside_fenced_ = false;
  aside_->stop();
  aside_lost_ = false;
  for_aside_bytes_ = 0;
  for (Aside& one : std::exchange(for_aside_, {})) {
    Reply reply;
    reply.kind = Reply::Kind::kError;
    reply.error = RedisError::kNotSent;
    reply.text = reason;
    if (one.command.handler) one.command.handler(reply);
  }
}

void RedisConnection::Impl::flush_soon() {
  if (std::exchange(flush_deferred_, true)) return;
  loop_.before_wait([this, alive = alive_] {
    if (!*alive) return;
    flush_deferred_ = false;
    flush();
  });
}

void RedisConnection::Impl::flush() {
  if (!stream_) return;
  if (tls_ && !plain_.empty()) {
    const auto sent = tls_->send(plain_, stream_->output());
    plain_.clear();
    // A handler's caller may be on the stack: the end comes from the loop.
    if (!sent.ok()) {
      loop_.defer([this, alive = alive_, number = attempt_, reason = sent.error().message] {
        if (*alive && attempt_ == number) fault(reason);
      });
      return;
    }
  }
  stream_->flush();
}

void RedisConnection::Impl::received(std::string_view bytes) {
  if (tls_) return received_tls(bytes);
  read(bytes);
}

void RedisConnection::Impl::received_tls(std::string_view cipher) {
  const auto tls = tls_;  // what is read may end the connection
  const std::uint64_t number = attempt_;
  const bool shaking_hands = !tls->established();
  std::string plain;
  const auto said = tls->receive(cipher, plain, stream_->output());
  stream_->flush();
  if (shaking_hands && tls->established() && state == State::kGreeting) greet();
  if (!plain.empty() && attempt_ == number) read(plain);
  if (!said.ok() && attempt_ == number) fault(said.error().message);
}

void RedisConnection::Impl::read(std::string_view bytes) {
  const std::uint64_t number = attempt_;
  const std::size_t before = pipeline.size();
  progress_bytes_ += bytes.size();
  const bool sound = reader_->read(bytes, [&](const Reply& reply) { return take(reply) && attempt_ == number; });
  if (attempt_ != number || !stream_) return;
  if (!sound) return fault(reader_->fault());
  if (pipeline.size() != before || progress_bytes_ >= kProgressBytes) {
    progress_ns_ = base::monotonic_ns();
    progress_bytes_ = 0;
  }
  if (state != State::kReady || end_if_moved()) return;
  tend_watch();
  tell_room();
}

// The end comes when all is answered.
bool RedisConnection::Impl::end_if_moved() {
  if (!moved_ || !pipeline.empty() || !aside_is_idle()) return false;
  // Not from inside a reply of the other node's connection, which is stopped then.
  loop_.defer([this, alive = alive_, number = attempt_] {
    if (*alive && attempt_ == number)
      fault(fmt::format("the slot is at {}:{}", nodes_->current().host, nodes_->current().port));
  });
  return true;
}

void RedisConnection::Impl::tell_room() {
  if (!room_wanted_ || bytes_in_flight() > options.max_in_flight_bytes / 2) return;
  room_wanted_ = false;
  if (events_.room) events_.room();
}

// False when the connection has ended.
bool RedisConnection::Impl::take(const Reply& reply) {
  if (subscribed_ && is_message(reply)) {
    progress_bytes_ = kProgressBytes;
    if (events_.message) events_.message(reply);
  } else if (pipeline.empty()) {
    const std::string said = reply.is_error() ? fmt::format(": {:.200}", reply.text) : "";
    fault(fmt::format("the server sent a reply that nobody asked for{}", said));
  } else {
    Pipeline::Answered command = pipeline.pop();
    if (timed_end_ != 0 && pipeline.answered_bytes() >= timed_end_) {
      timed_end_ = 0;
      events_.round_trip(base::monotonic_ns() - timed_ns_);
    }
    if (nodes_ && reply.error == RedisError::kMoved) follow(reply);
    const bool elsewhere =
        nodes_ && options.follows_ask && reply.error == RedisError::kAsk && ask_elsewhere(reply, command);
    if (!elsewhere && command.handler) command.handler(reply);
  }
  return stream_ != nullptr;
}

std::uint64_t RedisConnection::Impl::offered_bytes() const {
  const std::size_t unoffered = tls_ ? plain_.size() : stream_ ? stream_->unoffered_bytes() : 0;
  return pipeline.pushed_bytes() - unoffered;
}

// Nothing of this attempt is called back afterwards, but for what the pipeline holds.
void RedisConnection::Impl::close_all() {
  loop_.cancel(std::exchange(greeting_timer_, {}));
  loop_.cancel(std::exchange(backoff_timer_, {}));
  loop_.cancel(std::exchange(watch_timer_, {}));
  ++attempt_;
  addresses_.clear();
  sentinels_.reset();
  stream_.reset();
  tls_.reset();
  plain_.clear();
}

void RedisConnection::Impl::fault(const std::string& given) {
  if (state == State::kStopped || state == State::kBackingOff) return;
  const std::string reason = given;  // it may belong to what is closed here
  const bool was_ready = state == State::kReady;
  if (nodes_ && !std::exchange(moved_, false)) nodes_->next();
  const std::uint64_t offered = offered_bytes();
  close_all();
  if (was_ready && base::monotonic_ns() - ready_ns_ >= kSteadyNs) backoff_.reset();
  back_off(reason);
  room_wanted_ = false;
  close_aside(reason);
  timed_end_ = 0;
  pipeline.abandon(offered, reason);
  if (was_ready && events_.lost) events_.lost(reason);
  if (events_.failed) events_.failed(reason);
}

void RedisConnection::Impl::back_off(const std::string& reason) {
  state = State::kBackingOff;
  const std::int64_t wait_ns = backoff_.next_ns();
  // An outage is one line, not one for each attempt.
  if (reason != last_fault && !options.quiet) {
    log::warn("redis connection failed", {{"url", options.url.shown()},
                                          {"reason", reason},
                                          {"retry_in", base::human_duration(wait_ns)},
                                          {"failures", backoff_.failures()}});
  }
  last_fault = reason;
  backoff_timer_ = loop_.call_at(base::monotonic_ns() + wait_ns, [this] {
    backoff_timer_ = {};
    attempt();
  });
}

void RedisConnection::Impl::stop() {
  if (state == State::kStopped) return;
  const std::uint64_t offered = offered_bytes();
  close_all();
  state = State::kStopped;
  room_wanted_ = false;
  close_aside("the connection was stopped");
  timed_end_ = 0;
  pipeline.abandon(offered, "the connection was stopped");
}

// When the silence has lasted too long: with commands outstanding a fault, without them a PING.
std::int64_t RedisConnection::Impl::watch_due_ns() const {
  if (pipeline.empty()) return progress_ns_ + options.idle_ping_ns;
  return progress_ns_ + options.progress_timeout_ns + pipeline.block_ns();
}

// Never later than needed; sooner does no harm, so most commands need not touch the timer.
void RedisConnection::Impl::tend_watch() {
  const std::int64_t due_ns = watch_due_ns();
  if (watch_timer_ && watch_timer_.due_ns <= due_ns) return;
  loop_.cancel(watch_timer_);
  watch_timer_ = loop_.call_at(due_ns, [this] { watch(); });
}

void RedisConnection::Impl::watch() {
  watch_timer_ = {};
  if (state != State::kReady) return;
  if (base::monotonic_ns() < watch_due_ns()) return tend_watch();
  if (pipeline.empty()) {
    const std::string_view ping = "PING";
    return queue({&ping, 1}, nullptr);
  }
  fault(fmt::format("no reply for {} while {} commands were outstanding",
                    base::human_duration(options.progress_timeout_ns + pipeline.block_ns()), pipeline.size()));
}

RedisConnection::RedisConnection(io::Loop& loop, RedisOptions options, RedisEvents events)
    : impl_(std::make_unique<Impl>(loop, std::move(options), std::move(events))) {}
RedisConnection::~RedisConnection() = default;
void RedisConnection::start() { impl_->start(); }
void RedisConnection::stop() { impl_->stop(); }
void RedisConnection::drop(const std::string& reason) { impl_->fault(reason); }

Queued RedisConnection::command(std::span<const std::string_view> argv, ReplyHandler handler, std::int64_t block_ns) {
  return impl_->command(argv, std::move(handler), block_ns);
}

RedisConnection::State RedisConnection::state() const { return impl_->state; }
const Session& RedisConnection::session() const { return impl_->session; }
const std::string& RedisConnection::last_fault() const { return impl_->last_fault; }
std::size_t RedisConnection::commands_in_flight() const { return impl_->commands_in_flight(); }
std::size_t RedisConnection::bytes_in_flight() const { return impl_->bytes_in_flight(); }
bool RedisConnection::has_room() const { return bytes_in_flight() < impl_->options.max_in_flight_bytes; }

std::string_view to_string(RedisConnection::State state) noexcept {
  switch (state) {
    case RedisConnection::State::kStopped: return "stopped";
    case RedisConnection::State::kResolving: return "resolving";
    case RedisConnection::State::kConnecting: return "connecting";
    case RedisConnection::State::kGreeting: return "greeting";
    case RedisConnection::State::kReady: return "ready";
    case RedisConnection::State::kBackingOff: return "backing-off";
  }
  return "unknown";
}

}  // namespace stem::federation
