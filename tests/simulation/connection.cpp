#include "tests/simulation/connection.hpp"

#include <algorithm>
#include <utility>

namespace stem::simulation {
namespace {

constexpr std::int64_t kWatchdogNs = 5 * kSecondNs;
constexpr std::int64_t kGreetingNs = 5 * kSecondNs;
constexpr std::int64_t kNoticeNs = 10 * kMillisecondNs;
constexpr std::size_t kMostWaiting = 2000;

}  // namespace

using federation::Queued;
using federation::RedisError;

VirtualConnection::VirtualConnection(VirtualServer& server, Timeline& time, Diary& diary, std::uint64_t seed,
                                     std::string name, std::uint32_t host, const bool& stopped, Events events)
    : server_(server),
      time_(time),
      diary_(diary),
      random_(seed),
      backoff_(50 * kMillisecondNs, 5 * kSecondNs, seed + 1),
      name_(std::move(name)),
      host_(host),
      stopped_(stopped),
      events_(std::move(events)) {}

VirtualConnection::~VirtualConnection() {
  *alive_ = false;
  if (link_ != 0) server_.leave(link_, 0, VirtualServer::Ending::kLate);
}

// The greeting is one round trip here. Nobody waits for it longer than the watchdog would.
void VirtualConnection::connect() {
  const std::uint64_t attempt = ++attempt_;
  const auto fail = [this] {
    time_.after(backoff_.next_ns(), [this, alive = alive_] { *alive ? connect() : void(); });
  };
  time_.after(kGreetingNs, [this, alive = alive_, attempt, fail] {
    if (!*alive || attempt != attempt_) return;
    ++attempt_;
    fail();
  });
  server_.greet(*this, [this, server = &server_, alive = alive_, attempt, fail](std::int64_t link) {
    if (!*alive || attempt != attempt_) {  // nobody waits for it any more
      if (link != 0) server->leave(link, 0, VirtualServer::Ending::kSome);
      return;
    }
    ++attempt_;  // it is over, one way or the other
    link != 0 ? greeted(link) : fail();
  });
}

void VirtualConnection::greeted(std::int64_t link) {
  if (stopped_) return time_.after(kNoticeNs, [this, alive = alive_, link] { *alive ? greeted(link) : void(); });
  backoff_.reset();
  link_ = link;
  previous_ = link;
  previous_life_ = server_.life_;
  progress_ns_ = time_.now_ns();
  diary_.note("{} connected as {}", name_, link);
  events_.ready();
  events_.touched();
}

Queued VirtualConnection::command(std::span<const std::string_view> argv, federation::ReplyHandler handler,
                                  std::int64_t block_ns) {
  if (link_ == 0) return Queued::kNotReady;
  if (waiting_.size() >= kMostWaiting) return Queued::kNoRoom;
  if (waiting_.empty()) progress_ns_ = time_.now_ns();
  waiting_.push_back({std::move(handler), block_ns});
  server_.send(link_, {argv.begin(), argv.end()}, block_ns);
  if (!watching_) watch();
  return Queued::kYes;
}

void VirtualConnection::drop(const std::string& reason) { lose(reason.c_str(), VirtualServer::Ending::kLate); }

void VirtualConnection::receive(OwnedReply reply) {
  if (stopped_) {
    held_.push_back(std::move(reply));
    return;
  }
  handle(reply);
  events_.touched();
}

void VirtualConnection::handle(const OwnedReply& reply) {
  if (waiting_.empty()) return;
  progress_ns_ = time_.now_ns();
  const Waiting one = std::move(waiting_.front());
  waiting_.pop_front();
  const ShownReply shown(reply);
  one.handler(shown.get());
}

void VirtualConnection::resume() {
  const std::deque<OwnedReply> held = std::exchange(held_, {});
  const std::int64_t link = link_;
  for (const OwnedReply& reply : held)
    if (link_ == link) handle(reply);
  events_.touched();
}

// Some of the last commands may never have left: the socket's buffer was full.
void VirtualConnection::lose(const char* why, VirtualServer::Ending ending) {
  if (link_ == 0) return;
  if (stopped_) {  // it will see that, when it goes on
    time_.after(kNoticeNs, [this, alive = alive_, link = link_, why, ending] {
      if (*alive && link_ == link) lose(why, ending);
    });
    return;
  }
  const std::int64_t link = std::exchange(link_, 0);
  const std::size_t most = std::min(server_.under_way(link), waiting_.size());
  const std::size_t unsent = random_.below(3) == 0 ? random_.below(most + 1) : 0;
  diary_.note("{} lost {} with {} commands, {} unsent: {}", name_, link, waiting_.size(), unsent, why);
  server_.leave(link, unsent, ending);
  held_.clear();
  const std::deque<Waiting> waiting = std::exchange(waiting_, {});
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    const bool sent = i + unsent < waiting.size();
    const ShownReply lost(error_reply(sent ? RedisError::kLost : RedisError::kNotSent, "the connection ended"));
    waiting[i].handler(lost.get());
  }
  events_.lost();
  events_.touched();
  time_.after(backoff_.next_ns(), [this, alive = alive_] { *alive ? connect() : void(); });
}

// No reply for too long while commands wait, whatever the socket says.
void VirtualConnection::watch() {
  watching_ = !waiting_.empty();
  if (!watching_) return;
  const std::int64_t patience_ns = kWatchdogNs + waiting_.front().block_ns;
  if (!stopped_ && time_.now_ns() >= progress_ns_ + patience_ns) {
    watching_ = false;
    return lose("no progress", VirtualServer::Ending::kLate);
  }
  const std::int64_t next_ns = std::max(progress_ns_ + patience_ns, time_.now_ns() + 100 * kMillisecondNs);
  time_.at(next_ns, [this, alive = alive_] { *alive ? watch() : void(); });
}

}  // namespace stem::simulation
