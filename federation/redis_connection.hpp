// One pipelined connection to a Redis server, kept alive (docs/federation.md, "The connection").
//
//   RedisConnection redis(loop, {.url = url, .client_name = "stem-gateway:a"}, {.ready = ..., .lost = ...});
//   redis.start();
//   if (redis.command({"XACK", key, group, id}, [](const Reply& reply) { ... }) != Queued::kYes) ...
//
// One thread, the loop's. Handlers are called from the loop, never from inside command(). A command that was queued
// has its handler called exactly once: with the server's reply, or with RedisError::kLost or kNotSent when the
// connection ended first (then stop() and drop() call them before they return); in the order of the commands, but for
// those that a cluster redirects. Only
// destruction drops handlers uncalled. Handlers may call everything but the destructor.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "federation/pipeline.hpp"
#include "federation/redis_url.hpp"
#include "federation/reply.hpp"
#include "federation/tls.hpp"
#include "io/loop.hpp"

namespace stem::federation {

// Names one connection to one life of one server, for good: what CLIENT KILL needs to fence it.
struct SessionIdentity {
  std::string run_id;  // of the server process; empty when it does not tell
  std::int64_t client_id = 0;
};

struct Session {
  SessionIdentity identity;
  std::string version;       // "7.0.15"; empty when it does not tell
  std::uint64_t number = 0;  // 1, 2, ... of this RedisConnection
};

struct RedisOptions {
  RedisUrl url;
  TlsOptions tls;             // for rediss://
  std::string sentinel_user;  // of the Sentinels, when they want one; the URL's are the master's
  std::string sentinel_password;
  std::string client_name;  // CLIENT SETNAME; no blanks
  // A connection of a predecessor (a gateway that was killed): fenced in the first greeting.
  std::optional<SessionIdentity> predecessor;
  std::int64_t greeting_timeout_ns = 5'000'000'000;  // from the start of an attempt until ready
  std::int64_t progress_timeout_ns = 5'000'000'000;  // the watchdog
  std::int64_t idle_ping_ns = 10'000'000'000;
  std::int64_t backoff_base_ns = 50'000'000;  // doubled with each failure; the wait is random below it
  std::int64_t backoff_max_ns = 5'000'000'000;
  std::size_t max_in_flight_bytes = 8 << 20;  // of commands that are not answered yet
  std::size_t max_reply_bytes = 64 << 20;
  // Of a Redis Cluster: a MOVED ends the connection, and the next one goes where it says. For keys of one slot.
  bool follows_slot = false;
  // And a command that got an ASK is said once more, at the node that it names; its handler is called when that has
  // answered, later than those of commands after it. Of commands over one key the order stays.
  bool follows_ask = false;
  // Whose connections to that node end before it is asked: clients whose names begin with `fence_others`, but not with
  // `fence_own`. Empty: nobody's.
  std::string fence_others, fence_own;
  std::uint64_t seed = 0;  // of the back-off; 0 = from the clock
  bool quiet = false;      // logs nothing: whoever owns it does
};

struct RedisEvents {
  std::function<void(const Session&)> ready;
  std::function<void(const std::string& reason)> lost;    // a ready connection ended; its handlers have been called
  std::function<void(const std::string& reason)> failed;  // every fault, also of an attempt; after `lost`
  std::function<void()> room;                             // after kNoRoom: half of the limit is free
  std::function<void(const Reply&)> message;              // published on a channel we subscribed to
  // From command() to its reply, of one command at a time that the server may not keep waiting.
  std::function<void(std::int64_t ns)> round_trip;
};

enum class [[nodiscard]] Queued : std::uint8_t{
    kYes,
    kNoRoom,    // too much in flight; wait for `room`
    kNotReady,  // no connection; wait for `ready`
};

class RedisConnection {
 public:
  enum class State : std::uint8_t { kStopped, kResolving, kConnecting, kGreeting, kReady, kBackingOff };

  RedisConnection(io::Loop& loop, RedisOptions options, RedisEvents events);
  ~RedisConnection();
  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

  void start();
  // Ends it for now: outstanding commands are completed with kLost or kNotSent, no reconnect.
  void stop();

  // `block_ns`: how long the server may rightly keep us waiting (XREADGROUP BLOCK), on top of the watchdog's time.
  Queued command(std::span<const std::string_view> argv, ReplyHandler handler, std::int64_t block_ns = 0);
  Queued command(std::initializer_list<std::string_view> argv, ReplyHandler handler, std::int64_t block_ns = 0) {
    return command(std::span(argv.begin(), argv.size()), std::move(handler), block_ns);
  }

  // Ends the connection as a fault does (the caller knows it is useless: READONLY after a fail-over) and reconnects.
  void drop(const std::string& reason);

  State state() const;
  bool is_ready() const { return state() == State::kReady; }
  const Session& session() const;  // of the current or the last ready connection
  const std::string& last_fault() const;
  std::size_t commands_in_flight() const;
  std::size_t bytes_in_flight() const;
  bool has_room() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

std::string_view to_string(RedisConnection::State state) noexcept;

}  // namespace stem::federation
