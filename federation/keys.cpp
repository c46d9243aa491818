#include "federation/keys.hpp"

#include <algorithm>

namespace stem::federation {
namespace {

template <class... Parts>
std::string joined(const Parts&... parts) {
  std::string out;
  out.reserve((std::string_view(parts).size() + ...));
  (out.append(parts), ...);
  return out;
}

// What SCAN would take for a pattern.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("*?[]\\^").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

Keys::Keys(std::string_view name_space, bool cluster) : name_space_(name_space), cluster_(cluster) {}

std::string Keys::of_queue(std::string_view kind, std::string_view queue) const {
  if (cluster_) return joined("{", name_space_, ":", queue, "}:", kind);
  return joined(name_space_, ":", kind, ":", queue);
}

std::string Keys::any_of(std::string_view kind) const {
  if (cluster_) return joined("{", escaped(name_space_), ":*}:", kind, "*");
  return joined(escaped(name_space_), ":", kind, ":*");
}

std::string_view Keys::queue_in(std::string_view kind, std::string_view key) const {
  const std::string before = cluster_ ? joined("{", name_space_, ":") : joined(name_space_, ":", kind, ":");
  if (!key.starts_with(before)) return {};
  key.remove_prefix(before.size());
  if (!cluster_) return key;
  const std::string after = joined("}:", kind);
  return key.ends_with(after) ? key.substr(0, key.size() - after.size()) : std::string_view();
}

std::string_view Keys::queue_of_dead(std::string_view key) const { return queue_in("dead", key); }
std::string_view Keys::queue_of_stream(std::string_view key) const {
  const std::string_view owner = lane_owner(key);
  return queue_in("stream", owner.empty() ? key : owner);
}

std::string Keys::of_schedules(std::string_view rest) const {
  if (cluster_) return joined("{", name_space_, ":schedule}:", rest);
  return joined(name_space_, ":schedule:", rest);
}

std::string Keys::of_workers(std::string_view rest) const {
  if (cluster_) return joined("{", name_space_, ":worker}:", rest);
  return joined(name_space_, ":worker:", rest);
}

// A key that others may stand beside: all that begin with it share its slot.
std::string Keys::paired(std::string_view kind, std::string_view key) const {
  if (cluster_) return joined("{", name_space_, ":", kind, ":", key, "}");
  return joined(name_space_, ":", kind, ":", key);
}

std::string_view Keys::lane_owner(std::string_view queue) {
  const std::size_t n = queue.size();
  const bool is_lane = n > 3 && queue.substr(n - 3, 2) == ":p" && queue[n - 1] >= '1' && queue[n - 1] <= '9';
  return is_lane ? queue.substr(0, n - 3) : std::string_view();
}

std::string Keys::stream(std::string_view queue, int priority) const {
  std::string key = of_queue("stream", queue);
  const int lane = std::clamp(priority, 0, kLanes - 1);
  if (lane > 0) key.append(":p").push_back(static_cast<char>('0' + lane));
  return key;
}

// A name inside the stream, not a key: the same in a cluster.
std::string Keys::group(std::string_view queue) const { return joined(name_space_, ":group:", queue); }
std::string Keys::delayed(std::string_view queue) const { return of_queue("delayed", queue); }
std::string Keys::dead(std::string_view queue) const { return of_queue("dead", queue); }

std::string Keys::result(std::string_view queue, std::string_view task_id) const {
  if (cluster_) return joined(of_queue("result", queue), ":", task_id);
  return joined(name_space_, ":result:", task_id);
}
std::string Keys::ended(std::string_view queue) const { return of_queue("ended", queue); }
std::string Keys::worker_heartbeat(std::string_view worker) const { return joined(of_workers("heartbeat:"), worker); }
std::string Keys::worker_heartbeats() const { return of_workers("heartbeats"); }
std::string Keys::heartbeat_channel() const { return joined("stem:heartbeat:", name_space_); }

std::string Keys::schedule_index() const { return of_schedules("index"); }
std::string Keys::schedule(std::string_view id) const { return of_schedules(id); }
std::string Keys::schedule_lock(std::string_view id) const { return joined(of_schedules(id), ":lock"); }
std::string Keys::schedule_history(std::string_view id) const { return joined(of_schedules(id), ":history"); }

std::string Keys::schedule_sending(std::string_view id) const { return joined(of_schedules(id), ":sending"); }
std::string Keys::tick(std::string_view queue, std::string_view schedule) const {
  return joined(of_queue("tick", queue), ":", schedule);
}

std::string Keys::lock(std::string_view key) const { return paired("lock", key); }
std::string Keys::lock_fence(std::string_view key) const { return joined(paired("lock", key), ":fence"); }
std::string Keys::unique(std::string_view queue, std::string_view key) const {
  return joined(of_queue("unique", queue), ":", key);
}
std::string Keys::rate(std::string_view key) const {
  return cluster_ ? joined(of_workers("rate:"), key) : paired("rate", key);
}
std::string Keys::places(std::string_view key) const {
  return cluster_ ? joined(of_workers("places:"), key) : paired("places", key);
}
std::string Keys::revokes() const { return cluster_ ? of_workers("revokes") : joined(name_space_, ":control:revokes"); }

std::string Keys::control_requests() const {
  return cluster_ ? of_workers("requests") : joined(name_space_, ":control:requests");
}
std::string Keys::control_replies(std::string_view request) const {
  if (cluster_) return joined(of_workers("replies:"), request);
  return joined(name_space_, ":control:replies:", request);
}

}  // namespace stem::federation
