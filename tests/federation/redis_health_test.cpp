#include "federation/redis_health.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "federation/blocking_client.hpp"
#include "tests/federation/connected.hpp"
#include "tests/support/redis_server.hpp"

namespace stem::federation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

RedisHealth sound() {
  RedisHealth health;
  health.version = "7.0.15";
  health.role = "master";
  health.append_only_file = true;
  health.append_fsync = "everysec";
  health.eviction = "noeviction";
  health.replicas = 1;
  return health;
}

TEST(RedisHealth, WarnsOfEachThingByItself) {
  EXPECT_THAT(warnings_of(sound()), IsEmpty());
  RedisHealth health = sound();
  health.version = "6.0.16";
  EXPECT_THAT(warnings_of(health), ElementsAre(HasSubstr("6.0.16 is too old")));
  for (const char* version : {"6.2.0", "7.0.15", "10.0.0", "", "unstable", "255.255.255"}) {
    health.version = version;
    EXPECT_THAT(warnings_of(health), IsEmpty()) << version;
  }
  health = sound();
  health.eviction = "volatile-ttl";
  EXPECT_THAT(warnings_of(health), ElementsAre(HasSubstr("maxmemory-policy is volatile-ttl")));
  health = sound();
  health.append_only_file = false;
  EXPECT_THAT(warnings_of(health), ElementsAre(HasSubstr("no append-only file")));
  health = sound();
  health.append_fsync = "no";
  EXPECT_THAT(warnings_of(health), ElementsAre(HasSubstr("appendfsync is no")));
  health = sound();
  health.persistence_failed = true;
  EXPECT_THAT(warnings_of(health), ElementsAre(HasSubstr("the last write")));
  health = sound();
  health.replicas = 0;
  EXPECT_THAT(warnings_of(health), ElementsAre(HasSubstr("no replica")));
  health.role = "slave";
  EXPECT_THAT(warnings_of(health), ElementsAre(HasSubstr("this is a replica")));
  health = sound();
  health.max_memory_bytes = 1000;
  health.used_memory_bytes = 801;
  EXPECT_THAT(warnings_of(health), ElementsAre(HasSubstr("801 B of 1000 B")));
}

TEST(RedisHealth, CountsItsOwnStreamsAlone) {
  const test::RedisServer server;
  const RedisOptions options = test::Connected::quick(server.url());
  auto client = BlockingClient::connect(options);
  ASSERT_TRUE(client.ok()) << client.error().message;
  const auto must = [&](std::vector<std::string_view> argv) {
    const auto reply = (*client)->ask(std::move(argv));
    EXPECT_TRUE(reply.ok()) << reply.error().message;
  };
  const Keys keys("n*s");
  const std::string stream = keys.stream("mail", 3);
  for (int i = 0; i < 5; ++i) must({"XADD", stream, "*", "a", "b"});
  must({"XGROUP", "CREATE", stream, keys.group("mail"), "0"});
  must({"XREADGROUP", "GROUP", keys.group("mail"), "c", "COUNT", "2", "STREAMS", stream, ">"});
  must({"XADD", "nXs:stream:mail", "*", "a", "b"});
  must({"SET", "n*s:stream:text", "not a stream"});
  for (int i = 0; i < 3000; ++i) must({"SET", "other:" + std::to_string(i), "x"});
  const auto health = examine_redis(options, keys);
  ASSERT_TRUE(health.ok()) << health.error().message;
  ASSERT_EQ(health->streams.size(), 1u);
  EXPECT_TRUE(health->streams_complete);
  EXPECT_EQ(health->streams[0].key, "n*s:stream:mail:p3");
  EXPECT_EQ(health->streams[0].length, 5);
  EXPECT_EQ(health->streams[0].pending, 2);
  EXPECT_EQ(health->streams[0].lag, 3);
  EXPECT_GT(health->round_trip_ns, 0);
}

TEST(BlockingClient, SaysWhyThereIsNoAnswer) {
  test::RedisServer server;
  RedisOptions options = test::Connected::quick(server.url());
  options.progress_timeout_ns = 100'000'000;
  auto client = BlockingClient::connect(options);
  ASSERT_TRUE(client.ok()) << client.error().message;
  EXPECT_EQ((*client)->ask({"PING"})->text, "PONG");
  EXPECT_EQ((*client)->ask({"NOSUCH"}).error().code, Errc::kRefused);
  server.stop();
  EXPECT_EQ((*client)->ask({"PING"}).error().code, Errc::kTimeout);
  EXPECT_EQ((*client)->ask({"PING"}).error().code, Errc::kRefused) << "it does not come back by itself";
  server.kill();
  const auto nobody = BlockingClient::connect(options);
  ASSERT_FALSE(nobody.ok());
  EXPECT_THAT(nobody.error().message, HasSubstr("Connection refused"));
}

}  // namespace
}  // namespace stem::federation
