// BullMQ on the same Redis: a Node process that adds in bulk, another that works, as its users would write them.
#include <unistd.h>

#include "bench/failure.hpp"
#include "bench/peer.hpp"
#include "bench/peer_script.hpp"
#include "bench/redis_client.hpp"

namespace stem::bench {

namespace {

constexpr const char* kName = "BullMQ";

std::optional<std::string> find_node() {
  if (auto node = find_program("node")) return node;
  return find_program("nodejs");
}

std::string missing() {
  if (!find_program("redis-server")) return "redis-server is not installed";
  if (!find_node()) return "node is not installed";
  const std::string library = peer_directory("bullmq") + "/node_modules/bullmq/package.json";
  return access(library.c_str(), R_OK) == 0 ? "" : "its packages are not installed: tools/setup installs them";
}

PeerResult run(const Work& work) {
  const RedisServer server;
  const auto side = [&](const char* script) {
    return script_side(kName,
                       {*find_node(), peer_directory("bullmq") + "/" + script, server.socket(),
                        std::to_string(work.tasks), std::to_string(work.payload_bytes)},
                       work.tasks);
  };
  const PeerResult result = run_sides(kName, work, side("producer.js"), side("consumer.js"), kScriptDeadline);
  RedisClient redis(server.socket());
  for (const char* key : {"bull:bench:wait", "bull:bench:active"})
    if (redis.command({"LLEN", key})->integer != 0) throw Failure(std::string("BullMQ: tasks are left in ") + key);
  return result;
}

}  // namespace

std::vector<Peer> bullmq_peers() {
  Peer peer;
  peer.key = "bullmq";
  peer.name = kName;
  peer.how = "addBulk of 1000; a worker with concurrency 100, completed jobs removed; one Node process each";
  peer.missing = missing;
  peer.run = run;
  return {peer};
}

}  // namespace stem::bench
