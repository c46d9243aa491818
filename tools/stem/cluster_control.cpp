#include "tools/stem/cluster_control.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <random>

#include "base/clock.hpp"
#include "federation/cluster_view.hpp"
#include "tools/stem/exit_code.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kKeptRequests = "1000";
constexpr std::string_view kRequestsKeptS = "3600";
constexpr std::string_view kWaitAtOnceS = "0.5";

std::string new_request_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}-{}", random(), random(), ::getpid());
}

// Whom to wait for. A gateway that has gone silent is named rather than forgotten.
Result<std::vector<HostAnswer>> expected(RedisHold& redis) {
  const auto members = federation::members_of(*redis.client, redis.keys);
  if (!members.ok()) return members.error();
  std::vector<HostAnswer> hosts;
  for (const federation::Member& member : *members) {
    if (member.state == federation::Member::State::kGone) continue;
    if (member.is_gateway()) hosts.push_back({.host = member.node, .workers = ordered_json::array()});
    if (member.kind.empty()) hosts.push_back({.host = member.id, .reachable = false, .workers = ordered_json::array()});
  }
  return hosts;
}

bool all_answered(const std::vector<HostAnswer>& hosts) {
  return std::all_of(hosts.begin(), hosts.end(),
                     [](const HostAnswer& host) { return host.answered || !host.reachable; });
}

// A host of which the registry did not know yet is as good as the others.
void take_answer(std::string_view text, ClusterAnswer& into, std::map<std::string, std::size_t>& unknown) {
  const ordered_json json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("host") || !json["host"].is_string()) return;
  const std::string name = json["host"].get<std::string>();
  auto host = std::find_if(into.hosts.begin(), into.hosts.end(),
                           [&name](const HostAnswer& one) { return one.host == name && one.reachable; });
  if (host == into.hosts.end()) host = into.hosts.insert(host, {.host = name, .workers = ordered_json::array()});
  host->answered = true;
  if (json.contains("workers") && json["workers"].is_array())
    for (const ordered_json& worker : json["workers"])
      if (worker.is_object()) host->workers.push_back(worker);
  if (json.contains("unknown") && json["unknown"].is_array())
    for (const ordered_json& one : json["unknown"])
      if (one.is_string()) ++unknown[one.get<std::string>()];
}

bool flag_of(const ordered_json& worker, const char* name) {
  const auto found = worker.find(name);
  return found != worker.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace

Result<ClusterAnswer> ask_hosts(RedisHold& redis, federation::HostRequest request) {
  auto hosts = expected(redis);
  if (!hosts.ok()) return hosts.error();
  ClusterAnswer answer{*std::move(hosts), {}};
  std::map<std::string, std::size_t> unknown;
  request.id = new_request_id();
  const std::string stream = redis.keys.control_requests(), replies = redis.keys.control_replies(request.id);
  const std::string text = to_json(request);
  const auto sent = redis.client->ask({"XADD", stream, "MAXLEN", "~", kKeptRequests, "*", "request", text});
  if (!sent.ok()) return sent.error();
  (void)redis.client->ask({"EXPIRE", stream, kRequestsKeptS});
  const std::int64_t until_ns = base::monotonic_ns() + request.timeout_ms * 1'000'000;
  while (!all_answered(answer.hosts) && base::monotonic_ns() < until_ns) {
    const auto reply = redis.client->ask({"BLPOP", replies, kWaitAtOnceS});
    if (!reply.ok()) return reply.error();
    if (reply->elements.size() == 2) take_answer(reply->elements[1].text, answer, unknown);
  }
  const auto answered = static_cast<std::size_t>(
      std::count_if(answer.hosts.begin(), answer.hosts.end(), [](const HostAnswer& host) { return host.answered; }));
  for (const auto& [name, hosts_without] : unknown)
    if (hosts_without == answered) answer.unknown.push_back(name);
  std::sort(answer.hosts.begin(), answer.hosts.end(),
            [](const HostAnswer& a, const HostAnswer& b) { return a.host < b.host; });
  return answer;
}

ordered_json cluster_answer_json(const ClusterAnswer& answer) {
  ordered_json hosts = ordered_json::array(), workers = ordered_json::array();
  for (const HostAnswer& host : answer.hosts) {
    hosts.push_back({{"host", host.host}, {"answered", host.answered}, {"reachable", host.reachable}});
    for (ordered_json worker : host.workers) {
      worker["host"] = host.host;
      workers.push_back(std::move(worker));
    }
  }
  return {{"hosts", std::move(hosts)}, {"workers", std::move(workers)}, {"unknown", answer.unknown}};
}

std::vector<std::string> silent_hosts(const ClusterAnswer& answer) {
  std::vector<std::string> names;
  for (const HostAnswer& host : answer.hosts)
    if (!host.answered) names.push_back(host.host);
  return names;
}

int cluster_exit_code(const ClusterAnswer& answer, bool leaving_is_wanted) {
  int code = kExitOk;
  bool anybody = false;
  for (const HostAnswer& host : answer.hosts) {
    if (!host.answered) return kExitTimeout;
    for (const ordered_json& worker : host.workers) {
      anybody = true;
      if (flag_of(worker, "left") && leaving_is_wanted) continue;
      if (!flag_of(worker, "answered")) return kExitTimeout;
      if (flag_of(worker, "refused")) code = kExitFailed;
    }
  }
  if (!answer.unknown.empty()) return kExitNotFound;
  return anybody ? code : kExitTimeout;
}

}  // namespace stem::cli
