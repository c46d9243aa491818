// `stem observe federation`: this host's gateway, and the cluster as Redis shows it.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/commands.hpp"
#include "tools/stem/interrupts.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/observe/federation.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

constexpr std::string_view kName = "observe federation";

struct FederationOptions {
  RedisChoice redis;
  bool follow = false;
  std::int64_t interval_ns = 1'000'000'000;
};

// The cluster's own trouble is part of what is shown: the gateway's state is seen without Redis.
FederationLook take_look(const shm::Segment* segment, const FederationOptions& options, const Context& context) {
  FederationLook look;
  if (segment != nullptr) look.local = look_at_gateway(*segment);
  if (redis_url(options.redis, context).empty()) return look;
  RedisChoice choice = options.redis;
  if (choice.name_space.empty()) choice.name_space = look.local.status.redis_name_space;
  auto redis = connect(choice, context);
  if (redis.ok()) {
    look.cluster = look_at_cluster(*redis->client, redis->keys, look.local);
    look.cluster->redis = redis->shown;
  } else {
    look.cluster.emplace().fault = redis.error().message;
  }
  return look;
}

void print_look(const FederationLook& look, bool follow, const Context& context) {
  if (context.json) {
    nlohmann::ordered_json document = federation_json(look);
    document["at"] = write_time(Moment::now().realtime_ns);
    document["namespace"] = context.namespace_name;
    follow ? print_json_line(document) : print_json(document);
    return;
  }
  const bool redraw = follow && stdout_is_terminal();
  if (redraw) fmt::print("\x1b[H\x1b[J");
  fmt::print("{}", federation_text(look, context.style, terminal_width()));
  if (follow) fmt::print("{}\n", redraw ? "\nctrl-c ends" : "");
  std::fflush(stdout);
}

int observe(const FederationOptions& options, const Context& context) {
  if (options.interval_ns <= 0) return fail(kName, {Errc::kInvalidArgument, "--interval: must be above 0"});
  const bool has_redis = !redis_url(options.redis, context).empty();
  if (has_redis)
    if (const auto good = redis_options(options.redis, context); !good.ok()) return fail(kName, good.error());
  const auto segment = watch_segment(context);
  // From a host without tasks of its own the cluster can be seen, too.
  if (!segment.ok() && !(has_redis && segment.error().code == Errc::kNotFound)) return fail(kName, segment.error());
  Interrupts interrupts;
  for (;;) {
    const FederationLook look = take_look(segment.ok() ? segment->get() : nullptr, options, context);
    print_look(look, options.follow, context);
    if (!options.follow) return look.cluster && !look.cluster->fault.empty() ? kExitFailed : kExitOk;
    if (std::ferror(stdout) != 0 || interrupts.wait_ns(options.interval_ns)) return kExitOk;
  }
}

Run build(CommandLine& line) {
  auto options = std::make_shared<FederationOptions>();
  declare_redis(line, options->redis);
  line.flag("--follow", &options->follow, "look again and again");
  line.duration_ns("--interval", &options->interval_ns, "how often (default 1s)");
  return [options](const Context& context) { return observe(*options, context); };
}

}  // namespace

std::vector<Command> observe_federation_commands() {
  return {{.path = "observe federation",
           .group = Group::kWatch,
           .help = "This host's gateway, its queues, and the other hosts",
           .details = "What the gateway of this host says of itself is seen without Redis, and is a second old at "
                      "most. With --redis, or a broker_url that is a Redis: what waits in the queues of the cluster, "
                      "and every gateway and worker by its heartbeat (every 10 s; silent after 25 s). Exit code 70 "
                      "when that Redis does not answer.",
           .examples = {{"stem observe federation", "this host, without Redis"},
                        {"stem observe federation --redis redis://broker --follow", "and the cluster"}},
           .traits = kReads,
           .build = build}};
}

}  // namespace stem::cli
