// The limits that this host keeps with others (docs/federation.md, "Limits"): gets places of rates and of concurrency
// limits from Redis in batches, for whatever workers here ask for, and gives back what they do not use. Nobody who
// starts a task waits for Redis.
//
// Does no I/O of its own and reads no clock.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/shared_limits.hpp"
#include "federation/keys.hpp"
#include "federation/redis.hpp"
#include "federation/transcript.hpp"

namespace stem::federation {

class LimitDesk {
 public:
  // `queues`: those whose limits are shared; all others' are this host's alone from now on.
  LimitDesk(engine::Engine& engine, Redis& redis, const Keys& keys, std::string host,
            std::vector<std::uint32_t> queues);

  // A connection is new, and nothing that an earlier one said, ours or of a gateway before us, comes any more: it could
  // give back what we use. Redis may have lost what we had.
  void on_ready();
  void on_lost() { ready_ = false; }
  void step(const Clocks& clocks);
  // Something is asked for, or will be soon.
  bool is_busy() const { return !rows_.empty(); }

 private:
  struct Row {
    std::uint64_t key = 0;
    bool asking = false;
    std::uint64_t backlog = 0;    // of a rate: tasks that wait, as far as we know
    std::uint64_t wanted = 0;     // of a concurrency limit: looks since we asked
    std::int64_t look_at_ns = 0;  // unless somebody wants something
    std::int64_t used_ns = 0;     // when somebody last wanted something
    std::int64_t ask_at_ns = 0;   // not before
    // Of a rate.
    std::int64_t next_ns[2] = {};  // of the batches, at the last look
    double per_look = 0;           // places taken between two looks, lately
    // Of a concurrency limit.
    std::uint32_t peak = 0;  // wanted at once, lately
    std::int64_t peak_ns = 0;
    std::int64_t renew_at_ns = 0;
    bool contended = false;  // not all have what they want
  };

  void look();
  void look_at_rate(std::uint32_t index, Row& row);
  void ask_rate(std::uint32_t index, Row& row, std::uint64_t count);
  void on_rate(std::uint32_t index, const Reply& reply, engine::Rate rate);
  void put_places();
  void look_at_places(std::uint32_t index, Row& row);
  void ask_places(std::uint32_t index, Row& row, std::uint32_t running, std::uint32_t wants);
  void on_places(std::uint32_t index, const Reply& reply, std::int64_t sent_ns);
  bool ask(Row& row, std::span<const std::string_view> argv, ReplyHandler handler);
  Row* answered(std::uint32_t index, const Reply& reply);
  void share(std::int64_t until_ns);

  engine::SharedLimits limits_;
  Redis& redis_;
  const Keys& keys_;
  std::string host_;
  std::vector<std::uint32_t> queues_;
  Clocks clocks_;
  std::unordered_map<std::uint32_t, Row> rows_;
  std::vector<std::uint32_t> called_;
  struct Arrived {
    std::uint32_t index;
    engine::Rate rate;
    double places, from_now_us;
  };
  std::vector<Arrived> arrived_;  // answers about rates, until we know what time it is
  std::uint64_t asked_ = 0, answered_ = 0;
  std::int64_t waiting_since_ns_ = 0;  // for the answer of what was asked first
  std::int64_t refused_until_ns_ = 0;
  bool ready_ = false, refusal_told_ = false;
};

}  // namespace stem::federation
