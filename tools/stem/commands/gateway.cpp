// `stem gateway start`: joins this host with others through Redis, in the foreground.
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <memory>
#include <optional>

#include "base/log.hpp"
#include "federation/gateway.hpp"
#include "tools/stem/commands/commands.hpp"
#include "tools/stem/signing.hpp"
#include "tools/stem/terminal.hpp"

namespace stem::cli {
namespace {

constexpr std::uint64_t kMostPrefetch = 65'536;
constexpr std::uint64_t kMostSpinUs = 60'000'000;  // as a worker's
constexpr std::uint64_t kMostNice = 19;

struct GatewayStartOptions {
  std::vector<std::string> exports;
  std::vector<std::string> imports;
  std::string node;
  std::string policy = "local-first";
  std::string redis_namespace;
  std::uint64_t wait_replicas = 0;
  std::uint64_t spin_us = 0;
  std::uint64_t niceness = 15;
  bool hold_until_done = false;
  bool any_certificate = false;
  bool local_limits = false;
  bool local_keys = false;
  std::string unique_failure_mode = "failOpen";
  bool cluster = false;
  std::optional<std::uint64_t> prefetch_multiplier;
  SigningFlags signing;
};

Result<federation::Policy> parse_policy(std::string_view text) {
  if (text == "local-first") return federation::Policy::kLocalFirst;
  if (text == "global") return federation::Policy::kGlobal;
  if (text == "local-only") return federation::Policy::kLocalOnly;
  return Error{Errc::kInvalidArgument, fmt::format("--policy: '{}' is none of local-first, global, local-only", text)};
}

Result<federation::UniqueKeys> parse_unique_keys(const GatewayStartOptions& chosen) {
  const std::string& mode = chosen.unique_failure_mode;
  if (mode != "failOpen" && mode != "failClosed")
    return Error{Errc::kInvalidArgument,
                 fmt::format("--unique-failure-mode: '{}' is neither failOpen nor failClosed", mode)};
  if (chosen.local_keys) return federation::UniqueKeys::kOfHost;
  return mode == "failOpen" ? federation::UniqueKeys::kFailOpen : federation::UniqueKeys::kFailClosed;
}

// One that no other host of the cluster has, even where several share a machine.
std::string default_node(const std::string& name_space) {
  char host[256] = {};
  const bool known = ::gethostname(host, sizeof host - 1) == 0 && host[0] != '\0';
  return known ? fmt::format("{}.{}", host, name_space) : name_space;
}

int refuse(const Error& error) {
  print_error("gateway start: " + error.message);
  return error.code == Errc::kInvalidArgument ? kExitUsage : kExitFailed;
}

// Local work goes first where all processors are busy. Whoever started it with less claim to a processor meant that.
void stand_back(int niceness) {
  if (::getpriority(PRIO_PROCESS, 0) < niceness) (void)::setpriority(PRIO_PROCESS, 0, niceness);
}

int start_gateway(const GatewayStartOptions& chosen, const Context& context) {
  federation::GatewayOptions options;
  options.name_space = context.namespace_name;
  options.redis_name_space = chosen.redis_namespace.empty() ? context.namespace_name : chosen.redis_namespace;
  options.exports = chosen.exports;
  options.imports = chosen.imports;
  options.node = chosen.node.empty() ? default_node(context.namespace_name) : chosen.node;
  if (options.exports.empty() && options.imports.empty())
    return refuse({Errc::kInvalidArgument, "nothing to do; give --export QUEUE, --import QUEUE or both"});
  const std::string& broker = context.config.text("broker_url");
  const bool is_default = context.config.value("broker_url").origin == Origin::kDefault;
  const auto url = federation::parse_redis_url(is_default ? "redis://127.0.0.1:6379" : broker);
  if (!url) return refuse(url.error().within("--redis"));
  options.redis = *url;
  const auto policy = parse_policy(chosen.policy);
  if (!policy) return refuse(policy.error());
  options.policy = *policy;
  options.hold = chosen.hold_until_done ? federation::Hold::kUntilDone : federation::Hold::kUntilReceived;
  if (chosen.wait_replicas > 1000) return refuse({Errc::kInvalidArgument, "--wait-replicas: no Redis has so many"});
  options.wait_replicas = static_cast<std::uint32_t>(chosen.wait_replicas);
  if (chosen.spin_us > kMostSpinUs)
    return refuse({Errc::kInvalidArgument, fmt::format("--spin-us: 0 to {} microseconds", kMostSpinUs)});
  options.spin_ns = static_cast<std::int64_t>(chosen.spin_us) * 1000;
  if (chosen.niceness > kMostNice) return refuse({Errc::kInvalidArgument, fmt::format("--nice: 0 to {}", kMostNice)});
  options.cluster = chosen.cluster;
  options.local_limits = chosen.local_limits;
  const auto unique_keys = parse_unique_keys(chosen);
  if (!unique_keys) return refuse(unique_keys.error());
  options.unique_keys = *unique_keys;
  options.tls = {.ca_file = context.config.text("tls.ca_cert"),
                 .certificate_file = context.config.text("tls.client_cert"),
                 .key_file = context.config.text("tls.client_key"),
                 .check_certificate = !chosen.any_certificate};
  constexpr std::string_view kPrefetch = "worker.prefetch_multiplier";
  if (chosen.prefetch_multiplier || context.config.value(kPrefetch).origin != Origin::kDefault) {
    const std::uint64_t wanted = chosen.prefetch_multiplier.value_or(context.config.whole_number(kPrefetch));
    if (wanted == 0 || wanted > kMostPrefetch)
      return refuse({Errc::kInvalidArgument, fmt::format("--prefetch-multiplier: 1 to {}", kMostPrefetch)});
    options.prefetch_multiplier = static_cast<std::uint32_t>(wanted);
  }
  options.heartbeat_every_ns = context.config.duration_ns("worker.heartbeat_interval");
  if (options.heartbeat_every_ns < federation::kLeastHeartbeatNs ||
      options.heartbeat_every_ns > federation::kMostHeartbeatNs)
    return refuse(
        {Errc::kInvalidArgument, "--heartbeat-interval: 1s to 20s; after a minute without one a worker is gone"});
  auto signer = make_signer(chosen.signing, context);
  if (!signer) return refuse(signer.error());
  options.signer = *signer;
  stand_back(static_cast<int>(chosen.niceness));
  if (const auto ended = federation::run_gateway(options); !ended) return refuse(ended.error());
  return kExitOk;
}

Run build_gateway_start(CommandLine& line) {
  auto options = std::make_shared<GatewayStartOptions>();
  line.setting("--redis", "broker_url");
  line.texts("--export", &options->exports, "tasks of this queue may run on other hosts").named("QUEUE");
  line.texts("--import", &options->imports, "tasks of this queue may come from other hosts").named("QUEUE");
  line.text("--policy", &options->policy, "where exported tasks run: local-first, global or local-only")
      .named("POLICY");
  line.flag("--hold-until-done", &options->hold_until_done,
            "keep a task here until it has ended elsewhere: whatever Redis loses is sent again");
  line.count("--wait-replicas", &options->wait_replicas, "let a task go only when so many replicas of Redis have it")
      .named("N");
  line.flag("--redis-cluster", &options->cluster,
            "Redis is a Cluster: keys of a queue share a slot, which is followed");
  line.flag("--any-certificate", &options->any_certificate, "rediss:// to any server, without checking who it is");
  line.count("--prefetch-multiplier", &options->prefetch_multiplier,
             "tasks from other hosts that may wait here, for each local worker (default 4)")
      .named("N");
  line.setting("--heartbeat-interval", "worker.heartbeat_interval");
  line.count(
          "--spin-us", &options->spin_us,
          "microseconds that it looks for more after each task before it sleeps, which takes a processor (default 0)")
      .named("N");
  line.count("--nice", &options->niceness,
             "how far it stands back for local work where all processors are busy, as nice(1) (0 to 19, default 15)")
      .named("N");
  line.flag("--local-limits", &options->local_limits,
            "rate and concurrency limits of these queues are this host's alone, not the cluster's");
  line.flag("--local-keys", &options->local_keys,
            "a unique task that runs on the host that made it has a key of that host alone, not the cluster's");
  line.text("--unique-failure-mode", &options->unique_failure_mode,
            "of unique tasks while Redis cannot be asked: failOpen (run, unique among those made here) or failClosed "
            "(wait)")
      .named("MODE");
  line.text("--node", &options->node, "name of this host in the cluster, its own (default: HOST.NAMESPACE)")
      .named("NAME");
  line.text("--redis-namespace", &options->redis_namespace,
            "prefix of the keys in Redis, the same on all hosts (default: the namespace)")
      .named("NAME");
  declare_signing_flags(line, &options->signing);
  return [options](const Context& context) { return start_gateway(*options, context); };
}

}  // namespace

std::vector<Command> gateway_commands() {
  return {
      {.path = "gateway start",
       .group = Group::kRun,
       .help = "Join this host with others through Redis",
       .details =
           "Runs in the foreground, one process a host. A task that leaves is let go here when Redis has it; "
           "a task that comes is acknowledged there when it has ended here. The gateway, Redis and the "
           "network may go away at any time: local work goes on, and nothing is lost. With keys (--signing-keys-file, "
           "STEM_SIGNING_KEYS and so on) what leaves is signed, and what comes unsigned becomes a dead letter.",
       .examples = {{"stem gateway start --redis redis://broker --export mail --import mail",
                     "share queue mail with every host that does the same"},
                    {"stem gateway start --import mail --signing-keys-file keys --signing-active-key k1",
                     "run only what a host with the same keys has signed"}},
       .build = build_gateway_start}};
}

}  // namespace stem::cli
