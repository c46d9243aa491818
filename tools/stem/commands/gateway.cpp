// `stem gateway start`: joins this host with others through Redis, in the foreground.
#include <fmt/format.h>

#include <memory>

#include "base/log.hpp"
#include "federation/gateway.hpp"
#include "tools/stem/commands/commands.hpp"
#include "tools/stem/terminal.hpp"

namespace stem::cli {
namespace {

struct GatewayStartOptions {
  std::string redis;
  std::vector<std::string> exports;
  std::vector<std::string> imports;
  std::string node;
  std::string policy = "local-first";
  std::string redis_namespace;
};

Result<federation::Policy> parse_policy(std::string_view text) {
  if (text == "local-first") return federation::Policy::kLocalFirst;
  if (text == "global") return federation::Policy::kGlobal;
  if (text == "local-only") return federation::Policy::kLocalOnly;
  return Error{Errc::kInvalidArgument, fmt::format("--policy: '{}' is none of local-first, global, local-only", text)};
}

int refuse(const Error& error) {
  print_error("gateway start: " + error.message);
  return error.code == Errc::kInvalidArgument ? kExitUsage : kExitFailed;
}

int start_gateway(const GatewayStartOptions& chosen, const Context& context) {
  federation::GatewayOptions options;
  options.name_space = context.namespace_name;
  options.redis_name_space = chosen.redis_namespace.empty() ? context.namespace_name : chosen.redis_namespace;
  options.exports = chosen.exports;
  options.imports = chosen.imports;
  options.node = chosen.node.empty() ? context.namespace_name : chosen.node;
  if (options.exports.empty() && options.imports.empty())
    return refuse({Errc::kInvalidArgument, "nothing to do; give --export QUEUE, --import QUEUE or both"});
  const auto url = federation::parse_redis_url(chosen.redis);
  if (!url) return refuse(url.error().within("--redis"));
  options.redis = *url;
  const auto policy = parse_policy(chosen.policy);
  if (!policy) return refuse(policy.error());
  options.policy = *policy;
  if (const auto ended = federation::run_gateway(options); !ended) return refuse(ended.error());
  return kExitOk;
}

Run build_gateway_start(CommandLine& line) {
  auto options = std::make_shared<GatewayStartOptions>();
  options->redis = "redis://127.0.0.1:6379";
  line.text("--redis", &options->redis, "where Redis is: redis://, rediss:// or unix://").named("URL");
  line.texts("--export", &options->exports, "tasks of this queue may run on other hosts").named("QUEUE");
  line.texts("--import", &options->imports, "tasks of this queue may come from other hosts").named("QUEUE");
  line.text("--policy", &options->policy, "where exported tasks run: local-first, global or local-only")
      .named("POLICY");
  line.text("--node", &options->node, "name to show for this host").named("NAME");
  line.text("--redis-namespace", &options->redis_namespace,
            "prefix of the keys in Redis, the same on all hosts (default: the namespace)")
      .named("NAME");
  return [options](const Context& context) { return start_gateway(*options, context); };
}

}  // namespace

std::vector<Command> gateway_commands() {
  return {{.path = "gateway start",
           .group = Group::kRun,
           .help = "Join this host with others through Redis",
           .details =
               "Runs in the foreground, one process a host. A task that leaves is let go here when Redis has it; "
               "a task that comes is acknowledged there when it has ended here. The gateway, Redis and the "
               "network may go away at any time: local work goes on, and nothing is lost.",
           .examples = {{"stem gateway start --redis redis://broker --export mail --import mail",
                         "share queue mail with every host that does the same"}},
           .build = build_gateway_start}};
}

}  // namespace stem::cli
