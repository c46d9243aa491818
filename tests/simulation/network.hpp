// A Redis server as its clients see it, and the network in between: delays, partitions, connections that break with
// commands carried out or not and answers lost, bytes of a dead client that arrive late, a server that is stopped,
// killed, or replaced by a replica that lags.
//
// What TCP promises holds: on one connection everything comes once, in order, or not at all. So nothing is doubled
// but by a client that sends again.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/random.hpp"
#include "tests/simulation/diary.hpp"
#include "tests/simulation/model_redis.hpp"
#include "tests/simulation/timeline.hpp"

namespace stem::simulation {

class VirtualConnection;

// Redis's clock at the beginning of virtual time.
inline constexpr std::int64_t kEpochUs = 1'700'000'000'000'000;

inline constexpr std::int64_t kMostLagNs = 200 * kMillisecondNs;  // of a replica

struct NetworkOptions {
  std::int64_t least_delay_ns = 50 * kMicrosecondNs;
  std::int64_t most_delay_ns = 500 * kMicrosecondNs;
  std::uint32_t slow_in = 0;  // one packet in so many is a hundred times as slow; 0 = none
};

class VirtualServer {
 public:
  VirtualServer(Timeline& time, Diary& diary, base::Random random, NetworkOptions options);

  // ---- of connections
  // The greeting of a connection has been sent; `answer` is called with its client id, or 0 when it failed.
  void greet(VirtualConnection& connection, std::function<void(std::int64_t)> answer);
  // A command leaves the client of this link.
  void send(std::int64_t link, std::vector<std::string> argv, std::int64_t block_ns);
  // The client has ended its side. Of the last `unsent` commands none has left it; the others may still arrive, all
  // (`late`: some time from now) or a few.
  enum class Ending { kSome, kLate };
  void leave(std::int64_t link, std::size_t unsent, Ending ending);
  // Commands of a link that have not arrived.
  std::size_t under_way(std::int64_t link) const;

  // ---- faults
  void partition(std::uint32_t host, std::int64_t for_ns);
  void slow_down(std::uint32_t host, std::int64_t extra_ns) { extra_delay_ns_[host] = extra_ns; }
  void break_link(std::uint64_t choice);  // one that has a client
  void stop(std::int64_t for_ns);         // SIGSTOP, SIGCONT
  // Killed, and back after a while with all but the last `lost_ns` of its changes; `loading_ns` more until it serves.
  void crash(std::int64_t for_ns, std::int64_t lost_ns, std::int64_t loading_ns);
  // A replica that is `lag_ns` behind takes over; before that, the old master is demoted for a while.
  void fail_over(std::int64_t lag_ns, std::int64_t demoted_ns);
  void fill_up(std::int64_t for_ns);
  void flush();
  bool serves() const { return state_ == State::kUp; }

  const ModelRedis& model() const { return model_; }
  std::int64_t now_us() const { return kEpochUs + time_.now_ns() / 1000; }
  // Before and after changes were lost; `to_replica`: it has what WAIT was answered for.
  std::function<void(const ModelRedis& before, const ModelRedis& after, bool to_replica)> on_rollback;
  // Before a command is carried out that a client of this name has sent then.
  std::function<void(const std::string& client, Words words, std::int64_t sent_ns)> on_command;
  // When a command has left a host.
  std::function<void(std::uint32_t host, const std::vector<std::string>& argv)> on_sent;
  // By a client that is no host of ours. False: the server does not take it now.
  bool from_outside(const std::vector<std::string>& argv);
  // Changes are kept, so that some can be lost.
  void keep_history() { keeps_history_ = true; }
  std::uint64_t commands() const { return commands_; }
  std::size_t blocked() const;

 private:
  friend class VirtualConnection;
  enum class State { kUp, kStopped, kDown, kLoading };
  struct Packet {
    std::int64_t at_ns;
    std::vector<std::string> argv;  // empty: the end
    std::int64_t block_ns;
    std::int64_t sent_ns;
  };
  struct Link {
    std::string name;
    std::uint32_t host = 0;
    VirtualConnection* client = nullptr;  // null: its side is over
    std::deque<Packet> up;
    std::int64_t last_up_ns = 0, last_down_ns = 0;
    std::vector<std::string> blocked;  // the read that waits
    std::uint64_t blocked_number = 0;
  };

  std::int64_t delay_ns(std::uint32_t host);
  Link* find(std::int64_t link);
  void schedule_run(std::int64_t link, std::int64_t at_ns);
  void run(std::int64_t link);
  void block(std::int64_t id, Link& link, const Packet& packet, std::int64_t for_ns, OwnedReply end);
  void carry_out(std::int64_t id, Link& link, const Packet& packet);
  OwnedReply answer(Link& link, const std::vector<std::string>& argv, std::int64_t sent_ns);
  OwnedReply client_command(const std::vector<std::string>& argv);
  void reply(std::int64_t id, Link& link, OwnedReply reply);
  void serve_blocked();
  void close(std::int64_t link, std::int64_t notice_ns);
  void close_all();
  void lose_changes(std::int64_t lost_ns, bool to_replica);

  Timeline& time_;
  Diary& diary_;
  base::Random random_;
  NetworkOptions options_;
  ModelRedis model_;
  State state_ = State::kUp;
  std::uint64_t state_number_ = 0;
  std::uint64_t life_ = 1;  // of the server process
  std::map<std::int64_t, Link> links_;
  std::int64_t last_link_ = 0;
  std::unordered_map<std::string, std::deque<std::int64_t>> blocked_;  // by what they wait for
  std::uint64_t block_number_ = 0;
  std::unordered_map<std::uint32_t, std::int64_t> cut_until_ns_, extra_delay_ns_;
  bool keeps_history_ = false;
  struct Change {
    std::int64_t now_us;
    std::vector<std::string> argv;
  };
  std::deque<Change> history_;
  ModelRedis behind_;  // without what is in history_
  std::uint64_t commands_ = 0;
};

}  // namespace stem::simulation
