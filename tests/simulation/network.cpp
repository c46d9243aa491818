#include "tests/simulation/network.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "tests/simulation/connection.hpp"

namespace stem::simulation {
namespace {

constexpr std::int64_t kNoticeNs = 20 * kMillisecondNs;  // until a client knows that its server is gone
constexpr std::int64_t kLateNs = 8 * kSecondNs;          // what a kernel may take to send what a dead process wrote

std::vector<std::string_view> views(const std::vector<std::string>& argv) { return {argv.begin(), argv.end()}; }

}  // namespace

VirtualServer::VirtualServer(Timeline& time, Diary& diary, base::Random random, NetworkOptions options)
    : time_(time), diary_(diary), random_(random), options_(options) {}

std::int64_t VirtualServer::delay_ns(std::uint32_t host) {
  const auto spread = static_cast<std::uint64_t>(options_.most_delay_ns - options_.least_delay_ns);
  auto delay = options_.least_delay_ns + static_cast<std::int64_t>(random_.below(spread + 1));
  if (options_.slow_in != 0 && random_.below(options_.slow_in) == 0) delay *= 100;
  if (const auto extra = extra_delay_ns_.find(host); extra != extra_delay_ns_.end()) delay += extra->second;
  const auto cut = cut_until_ns_.find(host);
  if (cut != cut_until_ns_.end() && cut->second > time_.now_ns())  // sent again and again until it comes through
    delay += cut->second - time_.now_ns() + static_cast<std::int64_t>(random_.below(kSecondNs));
  return delay;
}

VirtualServer::Link* VirtualServer::find(std::int64_t link) {
  const auto found = links_.find(link);
  return found == links_.end() ? nullptr : &found->second;
}

std::size_t VirtualServer::blocked() const {
  std::size_t n = 0;
  for (const auto& [key, links] : blocked_) n += links.size();
  return n;
}

// ---- greetings

void VirtualServer::greet(VirtualConnection& connection, std::function<void(std::int64_t)> answer) {
  const auto arrive = [this, at = &connection, alive = connection.alive_, name = connection.name(),
                       host = connection.host(), previous = connection.previous_, life = connection.previous_life_,
                       answer](const auto& again) -> void {
    if (state_ == State::kStopped) return time_.after(kMillisecondNs * 10, [again] { again(again); });
    std::int64_t id = 0;
    if (state_ == State::kUp && *alive) {
      if (life == life_) close(previous, -1);  // CLIENT KILL
      id = ++last_link_;
      Link& link = links_[id];
      link.name = name;
      link.host = host;
      link.client = at;
    }
    const std::int64_t back_ns = time_.now_ns() + delay_ns(host);
    if (id != 0) links_[id].last_down_ns = back_ns;
    time_.at(back_ns, [this, id, answer] { answer(id != 0 && find(id) != nullptr ? id : 0); });
  };
  time_.after(delay_ns(connection.host()), [arrive] { arrive(arrive); });
}

// ---- packets

void VirtualServer::send(std::int64_t id, std::vector<std::string> argv, std::int64_t block_ns) {
  Link* link = find(id);
  if (link == nullptr) return;  // the server has closed it; the client will see
  link->last_up_ns = std::max(link->last_up_ns, time_.now_ns() + delay_ns(link->host));
  if (on_sent) on_sent(link->host, argv);
  link->up.push_back({link->last_up_ns, std::move(argv), block_ns, time_.now_ns()});
  schedule_run(id, link->last_up_ns);
}

std::size_t VirtualServer::under_way(std::int64_t id) const {
  const auto found = links_.find(id);
  return found == links_.end() ? 0 : found->second.up.size();
}

void VirtualServer::leave(std::int64_t id, std::size_t unsent, Ending ending) {
  Link* link = find(id);
  if (link == nullptr) return;
  link->client = nullptr;
  while (unsent-- > 0 && !link->up.empty()) link->up.pop_back();
  if (ending == Ending::kSome) {
    const std::size_t arrive = random_.below(link->up.size() + 1);
    while (link->up.size() > arrive) link->up.pop_back();
  } else if (random_.below(2) == 0) {
    const auto late_ns = static_cast<std::int64_t>(random_.below(kLateNs));
    for (Packet& packet : link->up) {
      packet.at_ns += late_ns;
      schedule_run(id, packet.at_ns);
    }
    link->last_up_ns += late_ns;
  }
  link->last_up_ns = std::max(link->last_up_ns, time_.now_ns() + delay_ns(link->host));
  link->up.push_back({link->last_up_ns, {}, 0, time_.now_ns()});
  schedule_run(id, link->last_up_ns);
}

void VirtualServer::schedule_run(std::int64_t link, std::int64_t at_ns) {
  time_.at(at_ns, [this, link] { run(link); });
}

void VirtualServer::run(std::int64_t id) {
  for (Link* link = find(id); link != nullptr && state_ == State::kUp; link = find(id)) {
    if (!link->up.empty() && link->up.front().argv.empty() && link->up.front().at_ns <= time_.now_ns())
      return close(id, -1);  // a client that is gone does not wait either
    if (!link->blocked.empty() || link->up.empty() || link->up.front().at_ns > time_.now_ns()) return;
    const Packet packet = std::move(link->up.front());
    link->up.pop_front();
    carry_out(id, *link, packet);
  }
}

// Until a timer ends it, nothing that comes behind it on this connection is looked at.
void VirtualServer::block(std::int64_t id, Link& link, const Packet& packet, std::int64_t for_ns, OwnedReply end) {
  link.blocked = packet.argv;
  link.blocked_number = ++block_number_;
  time_.after(for_ns, [this, id, number = block_number_, end = std::move(end)] {
    Link* waits = find(id);
    if (waits == nullptr || waits->blocked.empty() || waits->blocked_number != number) return;
    waits->blocked.clear();
    reply(id, *waits, end);
    run(id);
  });
}

void VirtualServer::carry_out(std::int64_t id, Link& link, const Packet& packet) {
  // A replica has it when it can be behind by no more.
  if (packet.argv[0] == "WAIT") return block(id, link, packet, kMostLagNs, number_reply(1));
  const bool may_block = packet.block_ns > 0;
  OwnedReply said = answer(link, packet.argv, packet.sent_ns);
  if (!may_block || said.kind != federation::Reply::Kind::kNil) {
    reply(id, link, std::move(said));
    return serve_blocked();
  }
  blocked_[*(std::find(packet.argv.begin(), packet.argv.end(), "STREAMS") + 1)].push_back(id);
  block(id, link, packet, packet.block_ns, nil_reply());
}

// First come, first served, as long as there is something.
void VirtualServer::serve_blocked() {
  for (auto& [key, links] : blocked_) {
    while (!links.empty()) {
      const std::int64_t id = links.front();
      Link* link = find(id);
      if (link != nullptr && !link->blocked.empty()) {
        const auto words = views(link->blocked);
        if (!model_.has_new(words)) break;
        const std::vector<std::string> argv = std::exchange(link->blocked, {});
        links.pop_front();
        reply(id, *link, answer(*link, argv, time_.now_ns()));
        time_.after(0, [this, id = id] { run(id); });
        continue;
      }
      links.pop_front();
    }
  }
}

OwnedReply VirtualServer::answer(Link& link, const std::vector<std::string>& argv, std::int64_t sent_ns) {
  ++commands_;
  if (argv[0] == "CLIENT") return client_command(argv);
  const auto words = views(argv);
  if (on_command) on_command(link.name, words, sent_ns);
  OwnedReply said = model_.execute(words, now_us());
  if (keeps_history_ && model_.wrote()) history_.push_back({now_us(), argv});
  return said;
}

bool VirtualServer::from_outside(const std::vector<std::string>& argv) {
  if (state_ != State::kUp) return false;
  const OwnedReply said = model_.execute(views(argv), now_us());
  if (is_error(said)) return false;
  if (keeps_history_) history_.push_back({now_us(), argv});
  serve_blocked();
  return true;
}

OwnedReply VirtualServer::client_command(const std::vector<std::string>& argv) {
  if (argv[1] == "LIST") {
    std::string lines;
    for (const auto& [id, link] : links_) lines += fmt::format("id={} addr=virtual name={} db=0\n", id, link.name);
    return text_reply(lines);
  }
  if (argv[1] != "KILL" || argv.size() != 4) std::abort();
  const std::int64_t id = std::strtoll(argv[3].c_str(), nullptr, 10);
  if (find(id) == nullptr) return number_reply(0);
  close(id, kMillisecondNs);
  return number_reply(1);
}

void VirtualServer::reply(std::int64_t id, Link& link, OwnedReply reply) {
  if (link.client == nullptr) return;
  link.last_down_ns = std::max(link.last_down_ns, time_.now_ns() + delay_ns(link.host));
  time_.at(link.last_down_ns, [this, id, reply = std::move(reply)]() mutable {
    Link* open = find(id);
    if (open != nullptr && open->client != nullptr && open->client->link_ == id)
      open->client->receive(std::move(reply));
  });
}

// ---- faults

// `notice_ns` < 0: its client knows, or is gone.
void VirtualServer::close(std::int64_t id, std::int64_t notice_ns) {
  const Link* link = find(id);
  if (link == nullptr) return;
  if (notice_ns >= 0 && link->client != nullptr)
    time_.after(notice_ns + delay_ns(link->host), [id, client = link->client, alive = link->client->alive_] {
      if (*alive && client->link_ == id) client->lose("closed by the server", Ending::kSome);
    });
  links_.erase(id);
}

void VirtualServer::close_all() {
  while (!links_.empty())
    close(links_.begin()->first, static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(kNoticeNs))));
  blocked_.clear();
}

void VirtualServer::break_link(std::uint64_t choice) {
  std::vector<VirtualConnection*> clients;
  for (const auto& [id, link] : links_)
    if (link.client != nullptr && link.client->link_ == id) clients.push_back(link.client);
  if (clients.empty()) return;
  clients[choice % clients.size()]->lose("reset", random_.below(2) == 0 ? Ending::kSome : Ending::kLate);
}

void VirtualServer::partition(std::uint32_t host, std::int64_t for_ns) {
  cut_until_ns_[host] = std::max(cut_until_ns_[host], time_.now_ns() + for_ns);
}

void VirtualServer::stop(std::int64_t for_ns) {
  if (state_ != State::kUp) return;
  state_ = State::kStopped;
  time_.after(for_ns, [this, number = ++state_number_] {
    if (state_ != State::kStopped || state_number_ != number) return;
    state_ = State::kUp;
    std::vector<std::int64_t> ids;
    for (const auto& [id, link] : links_) ids.push_back(id);
    while (!ids.empty()) {  // in whatever order their sockets are looked at
      std::swap(ids[random_.below(ids.size())], ids.back());
      run(ids.back());
      ids.pop_back();
    }
  });
}

void VirtualServer::crash(std::int64_t for_ns, std::int64_t lost_ns, std::int64_t loading_ns) {
  if (state_ == State::kDown) return;
  close_all();
  lose_changes(lost_ns, /*to_replica=*/false);
  ++life_;
  state_ = State::kDown;
  const std::uint64_t number = ++state_number_;
  time_.after(for_ns, [this, number] {
    if (state_number_ == number) state_ = State::kLoading;
  });
  time_.after(for_ns + loading_ns, [this, number] {
    if (state_number_ == number) state_ = State::kUp;
  });
}

void VirtualServer::fail_over(std::int64_t lag_ns, std::int64_t demoted_ns) {
  lag_ns = std::min(lag_ns, kMostLagNs);
  if (state_ != State::kUp) return;
  model_.set_read_only(true);
  time_.after(demoted_ns, [this, lag_ns] {
    model_.set_read_only(false);
    close_all();
    lose_changes(lag_ns, /*to_replica=*/true);
    ++life_;
  });
}

void VirtualServer::lose_changes(std::int64_t lost_ns, bool to_replica) {
  if (!keeps_history_) return;
  const std::int64_t kept_us = now_us() - lost_ns / 1000;
  for (; !history_.empty() && (lost_ns == 0 || history_.front().now_us < kept_us); history_.pop_front())
    (void)behind_.execute(views(history_.front().argv), history_.front().now_us);
  const std::size_t lost = history_.size();
  history_.clear();
  const ModelRedis before = std::exchange(model_, behind_);
  diary_.note("{} changes are lost", lost);
  if (on_rollback) on_rollback(before, model_, to_replica);
}

void VirtualServer::fill_up(std::int64_t for_ns) {
  model_.set_full(true);
  time_.after(for_ns, [this] { model_.set_full(false); });
}

// It takes a while: entries of the same millisecond, before and after it, would have the same name.
void VirtualServer::flush() {
  if (state_ != State::kUp) return;
  const ModelRedis before = model_;
  const std::vector<std::string> argv{"FLUSHALL"};
  (void)model_.execute(views(argv), now_us());
  if (keeps_history_) history_.push_back({now_us(), argv});
  if (on_rollback) on_rollback(before, model_, /*to_replica=*/false);
  stop(2 * kMillisecondNs);
}

}  // namespace stem::simulation
