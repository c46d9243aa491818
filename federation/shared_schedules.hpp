// The schedules that all hosts of a Redis share: ns:schedule:index and a hash for each entry.
//
// Fields of ns:schedule:ID, all text: `definition` (JSON as in a schedule file), `version` (another with each change),
// `created`, `since` (ns since 1970: its ticks count from there), `fired` (planned time of the last tick; the word on
// which firing turns), and for people `firedAt`, `drift`, `task`, `count`, `failed`, `skipped`. In a Redis Cluster also
// `token` (of the last tick) and `sending` (of the tick that is on its way to its queue, in ns:schedule:ID:sending).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "beat/store.hpp"
#include "federation/keys.hpp"
#include "federation/persistent_client.hpp"

namespace stem::federation {

// For its task goes into a stream, where whatever is the host's own (unique keys, affinity) says nothing; and for its
// id is part of keys. One line for what is wrong.
Result<void> check_shared(const beat::Entry& entry);

class SharedSchedules {
 public:
  struct Row {
    std::string id;
    std::uint64_t version = 0;
    std::int64_t fired_ns = 0;
    bool sending = false;  // a tick of it is on its way to its queue
  };

  SharedSchedules(PersistentClient& redis, const Keys& keys) : redis_(redis), keys_(keys) {}

  // Every entry's id, version and last tick; rows that make no sense are left out.
  Result<std::vector<Row>> look();
  // Nothing when there is none, or what is there makes no sense (`why` says what).
  Result<std::optional<beat::StoredEntry>> find(std::string_view id, std::string* why = nullptr);
  // Ordered by id.
  Result<std::vector<beat::StoredEntry>> list();
  // As ScheduleStore::put and remove. Times by the server's clock.
  Result<beat::Change> put(const beat::Entry& entry);
  Result<beat::Change> remove(std::string_view id);

  // In a cluster: the tick of this entry that is on its way, if there is one, comes into its queue. May be repeated, by
  // anybody. `token`: its own, when there is one.
  Result<void> send_tick(std::string_view id, std::string* token = nullptr);

  PersistentClient& redis() { return redis_; }
  const Keys& keys() const { return keys_; }

 private:
  Result<std::int64_t> now_ns();

  PersistentClient& redis_;
  const Keys& keys_;
};

// When its next tick after `planned_ns` comes, as the score of the index: epoch ms, or "+inf".
std::string next_score(const beat::StoredEntry& stored, std::int64_t after_ns);

}  // namespace stem::federation
