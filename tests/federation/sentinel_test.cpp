// Discovery by real Sentinels, through a fail-over.
#include "federation/sentinel.hpp"

#include <gtest/gtest.h>

#include <string>

#include "tests/federation/connected.hpp"
#include "tests/support/redis_server.hpp"

namespace stem::federation {
namespace {

using test::Connected;
using test::RedisServer;

RedisServer::Options sentinel_of(const RedisServer& master) {
  return {.tcp = true,
          .arguments = {"--sentinel"},
          .configuration = {"sentinel monitor boss 127.0.0.1 " + std::to_string(master.port()) + " 1",
                            "sentinel down-after-milliseconds boss 200", "sentinel failover-timeout boss 2000"}};
}

std::string url_of(const std::vector<std::uint16_t>& sentinels, const std::string& master = "boss") {
  std::string hosts;
  for (const std::uint16_t port : sentinels)
    hosts += (hosts.empty() ? "" : ",") + ("127.0.0.1:" + std::to_string(port));
  return "redis+sentinel://" + hosts + "/" + master;
}

std::string configured_port(Connected& client) { return client.ask({"CONFIG", "GET", "port"}).elements.at(1).text; }

TEST(Sentinel, FindsTheMasterAndAfterAFailOverTheNewOne) {
  RedisServer master({.tcp = true, .arguments = {}});
  const RedisServer replica(
      {.tcp = true,
       .arguments = {"--replicaof", "127.0.0.1", std::to_string(master.port()), "--repl-diskless-sync-delay", "0"}});
  Connected to_replica(Connected::quick(replica.url()));
  to_replica->start();
  ASSERT_TRUE(to_replica.wait_ready());
  ASSERT_TRUE(to_replica.turn_until([&] {
    return to_replica.ask({"INFO", "replication"}).text.find("master_link_status:up") != std::string::npos;
  }));
  const RedisServer sentinel(sentinel_of(master));
  Connected to_sentinel(Connected::quick("redis://127.0.0.1:" + std::to_string(sentinel.port())));
  to_sentinel->start();
  ASSERT_TRUE(to_sentinel.wait_ready());
  ASSERT_TRUE(to_sentinel.turn_until([&] {
    return !to_sentinel.ask({"SENTINEL", "REPLICAS", "boss"}).elements.empty();
  }));

  // The first Sentinel of the list is not there.
  Connected client(Connected::quick(url_of({test::free_port(), sentinel.port()})));
  client->start();
  ASSERT_TRUE(client.wait_ready()) << client->last_fault();
  EXPECT_EQ(configured_port(client), std::to_string(master.port()));
  EXPECT_EQ(client.ask({"SET", "k", "v"}).text, "OK");

  master.kill();
  ASSERT_TRUE(client.turn_until([&] { return client.sessions.size() == 2; }, std::chrono::seconds(60)))
      << client->last_fault();
  EXPECT_EQ(configured_port(client), std::to_string(replica.port()));
  EXPECT_EQ(client.ask({"SET", "k", "w"}).text, "OK");
}

TEST(Sentinel, AReplicaIsNotTakenForTheMaster) {
  const RedisServer master({.tcp = true, .arguments = {}});
  const RedisServer sentinel(sentinel_of(master));
  Connected administrator(Connected::quick(master.url()));
  administrator->start();
  ASSERT_TRUE(administrator.wait_ready());
  // Demoted behind the Sentinel's back.
  EXPECT_EQ(administrator.ask({"REPLICAOF", "127.0.0.1", "1"}).text, "OK");
  Connected client(Connected::quick(url_of({sentinel.port()})));
  client->start();
  ASSERT_TRUE(client.turn_until([&] { return client->last_fault() == "this server is a slave, not the master"; }))
      << client->last_fault();
  EXPECT_TRUE(client.sessions.empty());
}

TEST(Sentinel, SaysWhatEachSentinelSaid) {
  const RedisServer master({.tcp = true, .arguments = {}});
  const RedisServer sentinel(sentinel_of(master));
  const std::uint16_t nobody = test::free_port();
  Connected client(Connected::quick(url_of({nobody, sentinel.port()}, "stranger")));
  client->start();
  ASSERT_TRUE(client.turn_until([&] { return !client->last_fault().empty(); }));
  const std::string first = "127.0.0.1:" + std::to_string(nobody);
  EXPECT_EQ(client->last_fault(), "no Sentinel knows the master (" + first + ": connect to " + first +
                                      ": Connection refused; 127.0.0.1:" + std::to_string(sentinel.port()) +
                                      ": knows no master 'stranger')");
}

}  // namespace
}  // namespace stem::federation
