// `stem health` against a real Redis of the test's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "scene.hpp"
#include "tests/support/redis_server.hpp"

namespace stem::cli_test {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

TEST(HealthOfRedis, SaysWhatItIsAndWhatToMend) {
  Scene scene;
  scene.segment();
  const test::RedisServer server(
      {.tcp = true, .arguments = {"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}});
  const json document = scene.run_json({"health", "--broker", server.tcp_url()});
  EXPECT_EQ(document["ok"], true);
  const json& broker = document["components"][0];
  EXPECT_EQ(broker["url"], server.tcp_url());
  EXPECT_GT(broker["roundTripNs"], 0);
  EXPECT_EQ(broker["redis"]["role"], "master");
  EXPECT_EQ(broker["redis"]["maxmemoryPolicy"], "allkeys-lru");
  EXPECT_EQ(broker["redis"]["persistence"], "none");
  EXPECT_EQ(broker["redis"]["replicas"], 0);
  EXPECT_THAT(broker["warnings"], SizeIs(3));
  EXPECT_THAT(broker["warnings"], Contains(HasSubstr("CONFIG SET maxmemory-policy noeviction")));
  EXPECT_THAT(broker["warnings"], Contains(HasSubstr("CONFIG SET appendonly yes")));
  EXPECT_THAT(broker["warnings"], Contains(HasSubstr("min-replicas-to-write 1")));
  const Outcome page = scene.run({"health", "--broker", server.url()});
  EXPECT_EQ(page.exit_code, 0);
  EXPECT_THAT(page.out, HasSubstr("persistence none, allkeys-lru, 0 replicas"));
  EXPECT_THAT(page.err, HasSubstr("noeviction"));
}

TEST(HealthOfRedis, IsContentWithOneThatIsWellKept) {
  Scene scene;
  scene.segment();
  const test::RedisServer server({.tcp = true, .arguments = {"--appendonly", "yes"}});
  const test::RedisServer replica(
      {.tcp = true,
       .arguments = {"--replicaof", "127.0.0.1", std::to_string(server.port()), "--repl-diskless-sync-delay", "0"}});
  json broker;
  for (int tries = 0; tries < 100; ++tries) {  // until the replica has found its master
    broker = scene.run_json({"health", "--broker", server.tcp_url()})["components"][0];
    if (broker["redis"]["replicas"] == 1) break;
  }
  EXPECT_EQ(broker["redis"]["replicas"], 1);
  EXPECT_EQ(broker["redis"]["persistence"], "AOF everysec");
  EXPECT_THAT(broker["warnings"], SizeIs(0));
  // The replica takes no task.
  const Outcome there = scene.run({"health", "--broker", replica.tcp_url()});
  EXPECT_EQ(there.exit_code, 70);
  EXPECT_THAT(there.err, HasSubstr("this is a replica"));
}

TEST(HealthOfRedis, FailsWithTheReason) {
  Scene scene;
  scene.segment();
  test::RedisServer server({.tcp = true, .arguments = {"--requirepass", "hidden"}});
  const Outcome closed = scene.run({"health", "--broker", server.tcp_url()});
  EXPECT_EQ(closed.exit_code, 70);
  EXPECT_THAT(closed.out, HasSubstr("NOAUTH"));
  const std::string with_wrong = "redis://:guessed@127.0.0.1:" + std::to_string(server.port());
  const Outcome wrong = scene.run({"health", "--broker", with_wrong});
  EXPECT_EQ(wrong.exit_code, 70);
  EXPECT_THAT(wrong.out, HasSubstr("WRONGPASS"));
  EXPECT_THAT(wrong.out + wrong.err, Not(HasSubstr("guessed")));
  server.kill();
  const json gone = scene.run_json({"health", "--broker", server.tcp_url(), "--backend", "redis://"}, 70);
  EXPECT_EQ(gone["ok"], false);
  EXPECT_THAT(gone["components"][0]["detail"], HasSubstr("Connection refused"));
  EXPECT_THAT(gone["components"][1]["detail"], HasSubstr("the host is missing"));
}

}  // namespace
}  // namespace stem::cli_test
