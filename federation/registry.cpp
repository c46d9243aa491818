#include "federation/registry.hpp"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.hpp"
#include "federation/iso_time.hpp"
#include "shm/doorbell.hpp"
#include "shm/names.hpp"

namespace stem::federation {
namespace {

using nlohmann::ordered_json;

constexpr std::int64_t kLookForOthersNs = 60'000'000'000;
constexpr std::int64_t kForgetOthersNs = 600'000'000'000;

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

std::string text_of(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// What both kinds have in common; Stem's tools read no more than this.
ordered_json beat_of(const std::string& id, std::uint64_t inflight, ordered_json queues, const GatewayStatus& status,
                     const Clocks& clocks) {
  return {{"version", "1"},
          {"workerId", id},
          {"namespace", status.redis_name_space},
          {"timestamp", iso_time(clocks.wall_now_us)},
          {"isolateCount", 1},
          {"inflight", inflight},
          {"lastLeaseRenewal", nullptr},
          {"queues", std::move(queues)}};
}

}  // namespace

std::string gateway_beat_id(std::string_view node) { return "gateway:" + std::string(node); }

std::string worker_beat_id(std::string_view node, std::string_view worker) {
  return std::string(node) + ':' + std::string(worker);
}

void Registry::step(const GatewayStatus& status, const Clocks& clocks) {
  if (!is_due(clocks.now_ns)) return;
  beat_at_ns_ = clocks.now_ns + every_ns_;
  std::unordered_set<std::string> gone = std::move(mine_);
  mine_.clear();
  put(gateway_beat_id(status.node), gateway_beat(status, clocks));
  for (const engine::WorkerStats& worker : engine::Query(engine_).workers(engine::HeldBy::kClaim)) {
    const bool serves_tasks = worker.role == shm::Role::kWorker || worker.role == shm::Role::kSupervisor;
    if (!serves_tasks || worker.state != shm::RowState::kLive || worker.signalled_dead) continue;
    put(worker_beat_id(status.node, worker.name), worker_beat(worker, status, clocks));
  }
  for (const std::string& id : gone)
    if (!mine_.contains(id)) forget(id);
  if (clocks.now_ns >= look_at_ns_) look_for_others(clocks.now_ns);
}

bool Registry::leave() {
  if (left_) return told_;
  left_ = true;
  told_ = !redis_.is_ready() || mine_.empty();
  if (told_) return true;
  for (const std::string& id : mine_) forget(id);
  // Replies come in order: the answer to this one follows all of them.
  told_ = redis_.command({"PING"}, [this](const Reply&) { told_ = true; }) != Queued::kYes;
  return told_;
}

void Registry::put(const std::string& id, const std::string& json) {
  const std::string kept = std::to_string(kHeartbeatKeptMs);
  (void)redis_.command({"SET", keys_.worker_heartbeat(id), json, "PX", kept}, [](const Reply&) {});
  (void)redis_.command({"SADD", keys_.worker_heartbeats(), id}, [](const Reply&) {});
  (void)redis_.command({"PUBLISH", keys_.heartbeat_channel(), json}, [](const Reply&) {});
  mine_.insert(id);
}

void Registry::forget(const std::string& id) {
  (void)redis_.command({"SREM", keys_.worker_heartbeats(), id}, [](const Reply&) {});
  (void)redis_.command({"DEL", keys_.worker_heartbeat(id)}, [](const Reply&) {});
}

std::string Registry::gateway_beat(const GatewayStatus& status, const Clocks& clocks) const {
  std::uint64_t here = 0, exported = 0, results = 0;
  ImportStats in;
  ordered_json queues = ordered_json::array(), reports = ordered_json::array();
  for (const QueueReport& queue : status.queues) {
    here += queue.here;
    exported += queue.out.confirmed;
    results += queue.out.results;
    in.imported += queue.in.imported;
    in.settled += queue.in.settled;
    in.dead += queue.in.dead;
    in.fenced += queue.in.fenced;
    queues.push_back({{"name", queue.name}, {"inflight", queue.here}});
    reports.push_back(json_of(queue));
  }
  ordered_json beat = beat_of(gateway_beat_id(status.node), here, std::move(queues), status, clocks);
  beat["extras"] = {{"kind", "gateway"},       {"node", status.node},
                    {"host", status.host},     {"hostname", host_name()},
                    {"pid", status.pid},       {"startedAt", iso_time(status.started_us)},
                    {"exported", exported},    {"results", results},
                    {"imported", in.imported}, {"settled", in.settled},
                    {"dead", in.dead},         {"fenced", in.fenced},
                    {"losses", status.losses}, {"federation", std::move(reports)}};
  return text_of(beat);
}

std::string Registry::worker_beat(const engine::WorkerStats& worker, const GatewayStatus& status,
                                  const Clocks& clocks) const {
  const shm::Segment& segment = engine_.segment();
  const bool supervisor = worker.role == shm::Role::kSupervisor;
  std::string current_queue;
  if (worker.current.handle != 0 && worker.current.slot() < segment.geometry().slot_count) {
    const std::uint32_t queue = segment.descriptor(worker.current.slot()).queue;
    if (queue < shm::queue_total(segment)) current_queue = shm::queue_name(segment, queue);
  }
  ordered_json queues = ordered_json::array(), names = ordered_json::array();
  for (std::uint32_t queue = 0; !supervisor && queue < shm::queue_total(segment); ++queue) {
    if (!shm::serves(segment, worker.participant, queue)) continue;
    const std::string name(shm::queue_name(segment, queue));
    queues.push_back({{"name", name}, {"inflight", name == current_queue ? worker.inflight : 0}});
    names.push_back(name);
  }
  ordered_json beat =
      beat_of(worker_beat_id(status.node, worker.name), worker.inflight, std::move(queues), status, clocks);
  beat["extras"] = {{"kind", supervisor ? "supervisor" : "worker"},
                    {"node", status.node},
                    {"worker", worker.name},
                    {"host", status.host},
                    {"hostname", host_name()},
                    {"pid", worker.pid},
                    {"core", worker.cpu},
                    {"concurrency", 1},
                    {"memoryBytes", worker.rss_bytes},
                    {"started", worker.started},
                    {"completed", worker.succeeded},
                    {"failed", worker.failed},
                    {"stopping", worker.stop_mode != 0},
                    {"subscriptions", {{"queues", std::move(names)}, {"broadcasts", ordered_json::array()}}}};
  return text_of(beat);
}

// Hosts that were lost leave their names in the index; nobody else takes them out.
void Registry::look_for_others(std::int64_t now_ns) {
  look_at_ns_ = now_ns + kLookForOthersNs;
  (void)redis_.command({"SMEMBERS", keys_.worker_heartbeats()},
                       [this, now_ns](const Reply& reply) { on_others(reply, now_ns); });
}

void Registry::on_others(const Reply& members, std::int64_t now_ns) {
  if (!members.is_array()) return;
  std::unordered_map<std::string, std::int64_t> known = std::move(silent_);
  silent_.clear();
  for (const Reply& member : members.elements) {
    if (!member.is_text()) continue;
    const std::string id(member.text);
    const auto before = known.find(id);
    const std::int64_t since_ns = before == known.end() ? now_ns : before->second;
    (void)redis_.command({"EXISTS", keys_.worker_heartbeat(id)}, [this, id, since_ns, now_ns](const Reply& reply) {
      if (!reply.is_integer() || reply.integer != 0) return;
      if (now_ns - since_ns < kForgetOthersNs) {
        silent_.emplace(id, since_ns);
        return;
      }
      log::info("a host or worker of the cluster is forgotten", {{"id", id}});
      (void)redis_.command({"SREM", keys_.worker_heartbeats(), id}, [](const Reply&) {});
    });
  }
}

}  // namespace stem::federation
