#include "tools/stem/redis_choice.hpp"

#include <utility>

#include "federation/redis_url.hpp"
#include "tools/stem/health/component.hpp"

namespace stem::cli {

void declare_redis(CommandLine& line, RedisChoice& choice) {
  line.text("--redis", &choice.url, "where Redis is: redis://, rediss:// or unix:// (default: broker_url)")
      .named("URL");
  line.text("--redis-namespace", &choice.name_space, "prefix of the keys in Redis (default: the namespace)")
      .named("NAME");
  line.flag("--redis-cluster", &choice.redis_cluster, "that Redis is a Cluster, as the gateways were told");
}

void declare_all_hosts(CommandLine& line, RedisChoice& choice, const std::string& what) {
  line.flag("--all-hosts", &choice.all_hosts, "of all hosts: " + what + "; --redis implies it");
  declare_redis(line, choice);
}

std::string redis_url(const RedisChoice& choice, const Context& context) {
  if (!choice.url.empty()) return choice.url;
  const std::string& broker = context.config.text("broker_url");
  return is_redis_url(broker) ? broker : std::string();
}

federation::Keys redis_keys(const RedisChoice& choice, const Context& context) {
  return federation::Keys(choice.name_space.empty() ? context.namespace_name : choice.name_space, choice.redis_cluster);
}

Result<federation::RedisOptions> redis_options(const RedisChoice& choice, const Context& context) {
  const std::string url = redis_url(choice, context);
  if (url.empty()) return Error{Errc::kInvalidArgument, "no Redis is named; give --redis URL, or set STEM_BROKER_URL"};
  const auto parsed = federation::parse_redis_url(url);
  if (!parsed.ok()) return parsed.error().within(choice.url.empty() ? "broker_url" : "--redis");
  federation::RedisOptions options;
  options.url = *parsed;
  options.tls = {.ca_file = context.config.text("tls.ca_cert"),
                 .certificate_file = context.config.text("tls.client_cert"),
                 .key_file = context.config.text("tls.client_key")};
  options.client_name = "stem-cli";
  options.follows_slot = choice.redis_cluster;
  return options;
}

Result<RedisHold> connect(const RedisChoice& choice, const Context& context) {
  auto options = redis_options(choice, context);
  if (!options.ok()) return options.error();
  std::string shown = options->url.shown();
  auto client = federation::BlockingClient::connect(*std::move(options));
  if (!client.ok()) return client.error().within(shown);
  return RedisHold{*std::move(client), redis_keys(choice, context), std::move(shown)};
}

}  // namespace stem::cli
