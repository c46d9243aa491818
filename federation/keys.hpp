// The names of everything we keep in Redis. Nobody else puts a key together.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace stem::federation {

inline constexpr int kLanes = 10;  // priorities 0 to 9, a stream each

class Keys {
 public:
  // With `cluster`, what is changed together starts with the same {hash tag}, so that it lies in one slot.
  explicit Keys(std::string_view name_space = "stem", bool cluster = false);

  // The queue whose lane has the key that a queue of this name would have: `mail` for `mail:p1`; empty for most.
  static std::string_view lane_owner(std::string_view queue);

  // `priority` is clamped to 0..9; lane 0 has no suffix.
  std::string stream(std::string_view queue, int priority) const;
  std::string group(std::string_view queue) const;
  std::string delayed(std::string_view queue) const;
  std::string dead(std::string_view queue) const;
  // For SCAN MATCH: such keys of all queues; and the queue that one of them is of, empty when it is none.
  std::string any_stream() const { return any_of("stream"); }
  std::string any_dead() const { return any_of("dead"); }
  std::string_view queue_of_stream(std::string_view key) const;  // also of a lane's
  std::string_view queue_of_dead(std::string_view key) const;

  std::string result(std::string_view queue, std::string_view task_id) const;  // `queue` matters in a cluster only
  std::string ended(std::string_view queue) const;                             // see ended_log.hpp
  std::string worker_heartbeat(std::string_view worker) const;
  std::string worker_heartbeats() const;
  std::string heartbeat_channel() const;

  std::string schedule_index() const;
  std::string schedule(std::string_view id) const;
  std::string schedule_lock(std::string_view id) const;
  std::string schedule_history(std::string_view id) const;
  std::string schedule_sending(std::string_view id) const;                    // a fired tick on its way to its queue
  std::string tick(std::string_view queue, std::string_view schedule) const;  // the last that came there

  std::string lock(std::string_view key) const;
  std::string lock_fence(std::string_view key) const;                      // the fencing counter beside a lock
  std::string unique(std::string_view queue, std::string_view key) const;  // which task of the queue has it
  std::string rate(std::string_view key) const;
  std::string places(std::string_view key) const;  // of a concurrency limit: who has how many
  std::string revokes() const;
  std::string control_requests() const;
  std::string control_replies(std::string_view request) const;

  const std::string& name_space() const { return name_space_; }
  bool cluster() const { return cluster_; }

 private:
  std::string of_queue(std::string_view kind, std::string_view queue) const;
  std::string any_of(std::string_view kind) const;
  std::string_view queue_in(std::string_view kind, std::string_view key) const;
  std::string of_schedules(std::string_view rest) const;
  std::string of_workers(std::string_view rest) const;
  std::string paired(std::string_view kind, std::string_view key) const;

  std::string name_space_;
  bool cluster_;
};

}  // namespace stem::federation
