#include "tools/stem/observe/federation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/units.hpp"
#include "federation/iso_time.hpp"
#include "tools/stem/segment/usage.hpp"
#include "tools/stem/table.hpp"

namespace stem::cli {
namespace {

using federation::GatewayStatus;
using federation::Member;
using federation::QueueLag;
using federation::QueueReport;
using nlohmann::ordered_json;

std::int64_t wall_now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string since_text(std::int64_t time_us) {
  return time_us == 0 ? "never" : base::human_duration(std::max<std::int64_t>(0, wall_now_us() - time_us) * 1000);
}

std::string direction_of(const QueueReport& queue) {
  return queue.exports && queue.imports ? "both" : queue.exports ? "export" : queue.imports ? "import" : "";
}

std::vector<QueueReport> reports_of(const Member& member) {
  std::vector<QueueReport> queues;
  const auto extras = member.beat.find("extras");
  if (extras == member.beat.end()) return queues;
  const auto list = extras->find("federation");
  if (list == extras->end() || !list->is_array()) return queues;
  for (const ordered_json& one : *list) queues.push_back(federation::queue_report_of(one));
  return queues;
}

// A number of the heartbeat or of its extras; nothing when it is not there.
std::optional<std::int64_t> number_in(const Member& member, const char* name) {
  if (!member.beat.is_object()) return std::nullopt;
  const auto extras = member.beat.find("extras");
  for (const ordered_json* object : {&member.beat, extras == member.beat.end() ? nullptr : &*extras}) {
    if (object == nullptr || !object->is_object()) continue;
    const auto found = object->find(name);
    if (found != object->end() && found->is_number_integer()) return found->get<std::int64_t>();
  }
  return std::nullopt;
}

std::string number_text(const Member& member, const char* name) {
  const auto number = number_in(member, name);
  return number ? std::to_string(*number) : std::string();
}

Tone tone_of(Member::State state) {
  return state == Member::State::kAlive ? Tone::kGood : state == Member::State::kSilent ? Tone::kWarn : Tone::kBad;
}

// ---- text

std::string local_text(const LocalGateway& local, const Style& style) {
  if (local.state == LocalGateway::State::kNone) return "no gateway on this host\n";
  const GatewayStatus& s = local.status;
  std::string out;
  if (local.state == LocalGateway::State::kRunning)
    out += fmt::format("gateway     {} (process {}), up {}\n", printable(s.node), s.pid, since_text(s.started_us));
  else
    out += fmt::format("gateway     {} (process {}) {}; this is what it said {} ago\n", printable(s.node), s.pid,
                       style.paint(Tone::kBad, "is gone"), since_text(s.written_us));
  out += fmt::format("redis       {}, {} for {}\n", printable(s.redis),
                     s.connected ? style.paint(Tone::kGood, "connected") : style.paint(Tone::kBad, "not connected"),
                     since_text(s.since_us));
  if (!s.last_fault.empty())
    out += fmt::format("last fault  {} ago: {} ({} connections lost)\n", since_text(s.last_fault_us),
                       printable(s.last_fault), s.losses);
  return out;
}

std::string queues_table(const std::vector<QueueReport>& queues, const Style& style, std::size_t width) {
  Table table({{"QUEUE", Align::kLeft, true},
               {"DIRECTION"},
               {"ON-WAY", Align::kRight},
               {"AWAITED", Align::kRight},
               {"HERE", Align::kRight},
               {"CONFIRMED", Align::kRight},
               {"RESULTS", Align::kRight},
               {"LOST", Align::kRight},
               {"IMPORTED", Align::kRight},
               {"SETTLED", Align::kRight},
               {"DEAD", Align::kRight},
               {"FENCED", Align::kRight},
               {"RECLAIMED", Align::kRight},
               {"RETURNED", Align::kRight},
               {"DUPLICATES", Align::kRight},
               {"INVALID", Align::kRight}});
  const auto text = [](std::uint64_t count) { return fmt::format("{}", count); };
  for (const QueueReport& q : queues) {
    table.add_row({q.name, direction_of(q), text(q.on_their_way), text(q.awaited), text(q.here), text(q.out.confirmed),
                   text(q.out.results), text(q.out.lost + q.out.let_go), text(q.in.imported), text(q.in.settled),
                   text(q.in.dead), text(q.in.fenced), text(q.in.reclaimed), text(q.in.returned), text(q.in.duplicates),
                   text(q.in.invalid)});
  }
  return table.empty() ? "" : "\n" + table.render(style, width);
}

std::string cluster_text(const ClusterLook& look, const Style& style, std::size_t width) {
  if (!look.fault.empty()) return fmt::format("\nthe cluster cannot be seen: {}\n", printable(look.fault));
  std::string out;
  Table queues({{"QUEUE", Align::kLeft, true},
                {"WAITING", Align::kRight},
                {"PENDING", Align::kRight},
                {"DELAYED", Align::kRight},
                {"DLQ", Align::kRight}});
  for (const QueueLag& q : look.queues)
    queues.add_row({q.name,
                    std::to_string(q.waiting()),
                    std::to_string(q.pending),
                    std::to_string(q.delayed),
                    {std::to_string(q.dead), q.dead > 0 ? Tone::kWarn : Tone::kPlain}});
  if (!queues.empty()) out += "\n" + queues.render(style, width);
  Table members({{"MEMBER", Align::kLeft, true},
                 {"KIND"},
                 {"NODE", Align::kLeft, true},
                 {"STATE"},
                 {"HEARTBEAT", Align::kRight},
                 {"PID", Align::kRight},
                 {"INFLIGHT", Align::kRight},
                 {"EXPORTED", Align::kRight},
                 {"IMPORTED", Align::kRight},
                 {"DONE", Align::kRight}});
  for (const Member& m : look.members)
    members.add_row({m.id,
                     m.kind.empty() ? "other" : m.kind,
                     m.node,
                     {std::string(to_string(m.state)), tone_of(m.state)},
                     m.state == Member::State::kGone ? "" : base::human_duration(m.age_ns) + " ago",
                     number_text(m, "pid"),
                     number_text(m, "inflight"),
                     number_text(m, "exported"),
                     number_text(m, "imported"),
                     number_text(m, m.is_gateway() ? "settled" : "completed")});
  out += members.empty() ? "\nnobody is in the registry of the cluster\n" : "\n" + members.render(style, width);
  return out;
}

// ---- JSON

ordered_json cluster_json(const ClusterLook& look) {
  ordered_json object{{"redis", look.redis}, {"error", nullptr}};
  if (!look.fault.empty()) object["error"] = look.fault;
  object["queues"] = ordered_json::array();
  for (const QueueLag& q : look.queues)
    object["queues"].push_back({{"queue", q.name},
                                {"length", q.length},
                                {"waiting", q.waiting()},
                                {"pending", q.pending},
                                {"delayed", q.delayed},
                                {"dead", q.dead}});
  object["members"] = ordered_json::array();
  for (const Member& m : look.members) {
    ordered_json row{{"id", m.id},        {"kind", m.kind.empty() ? "other" : m.kind},
                     {"node", m.node},    {"state", to_string(m.state)},
                     {"ageNs", m.age_ns}, {"heartbeat", m.beat}};
    if (m.state == Member::State::kGone) row["ageNs"] = nullptr;
    object["members"].push_back(std::move(row));
  }
  return object;
}

}  // namespace

LocalGateway look_at_gateway(const shm::Segment& segment) {
  LocalGateway local;
  auto status = federation::read_status_file(segment);
  if (!status.ok()) return local;
  local.status = *std::move(status);
  local.state = LocalGateway::State::kEnded;
  for (const Attached& one : attached_to(segment))
    if (one.role == shm::Role::kGateway && one.alive && one.pid == local.status.pid)
      local.state = LocalGateway::State::kRunning;
  if (local.state == LocalGateway::State::kEnded) local.status.connected = false;
  return local;
}

ClusterLook look_at_cluster(federation::BlockingClient& client, const federation::Keys& keys,
                            const LocalGateway& local) {
  ClusterLook look;
  auto members = federation::members_of(client, keys);
  if (!members.ok()) {
    look.fault = members.error().message;
    return look;
  }
  look.members = *std::move(members);
  std::vector<std::string> names;
  for (const QueueReport& queue : local.status.queues) names.push_back(queue.name);
  for (const Member& member : look.members)
    for (const QueueReport& queue : reports_of(member)) names.push_back(queue.name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names) {
    auto lag = federation::lag_of(client, keys, name);
    if (!lag.ok()) {
      look.fault = lag.error().message;
      return look;
    }
    look.queues.push_back(*std::move(lag));
  }
  return look;
}

std::string federation_text(const FederationLook& look, const Style& style, std::size_t width) {
  std::string out = local_text(look.local, style);
  if (look.local.state != LocalGateway::State::kNone) out += queues_table(look.local.status.queues, style, width);
  if (look.cluster) out += cluster_text(*look.cluster, style, width);
  return out;
}

ordered_json federation_json(const FederationLook& look) {
  ordered_json document{{"gateway", nullptr}, {"cluster", nullptr}};
  if (look.local.state != LocalGateway::State::kNone) {
    document["gateway"] = json_of(look.local.status);
    document["gateway"]["state"] = look.local.state == LocalGateway::State::kRunning ? "running" : "ended";
  }
  if (look.cluster) document["cluster"] = cluster_json(*look.cluster);
  return document;
}

}  // namespace stem::cli
