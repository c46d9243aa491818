#include "federation/redis_url.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "federation/backoff.hpp"
#include "federation/redis_error.hpp"

namespace stem::federation {
namespace {

TEST(RedisUrl, ReadsItsForms) {
  const auto url = [](std::string_view text) {
    const auto parsed = parse_redis_url(text);
    EXPECT_TRUE(parsed.ok()) << parsed.error().message;
    return parsed.ok() ? *parsed : RedisUrl{};
  };
  EXPECT_EQ(url("redis://localhost"), (RedisUrl{.host = "localhost"}));
  EXPECT_EQ(url("redis://localhost/"), (RedisUrl{.host = "localhost"}));
  EXPECT_EQ(url("redis://10.0.0.7:6380/12"), (RedisUrl{.host = "10.0.0.7", .port = 6380, .database = 12}));
  EXPECT_EQ(url("rediss://[fe80::1]:7000"), (RedisUrl{.host = "fe80::1", .port = 7000, .tls = true}));
  EXPECT_EQ(url("redis://[::1]"), (RedisUrl{.host = "::1"}));
  EXPECT_EQ(url("redis://:pass@h"), (RedisUrl{.host = "h", .password = "pass"}));
  EXPECT_EQ(url("redis://gate:p%40s%3As%2fx@h:1"),
            (RedisUrl{.host = "h", .port = 1, .user = "gate", .password = "p@s:s/x"}));
  EXPECT_EQ(url("redis://gate:p@ss@h").password, "p@ss");
  EXPECT_EQ(url("unix:///run/redis.sock"), (RedisUrl{.socket_path = "/run/redis.sock"}));
  EXPECT_EQ(url("unix://u:p@/run/my%20redis.sock?db=4"),
            (RedisUrl{.socket_path = "/run/my redis.sock", .user = "u", .password = "p", .database = 4}));
}

TEST(RedisUrl, ReadsSentinels) {
  const auto url = parse_redis_url("rediss+sentinel://u:p@a,b:1,[::1]:2/my%20master/3");
  ASSERT_TRUE(url.ok()) << url.error().message;
  EXPECT_EQ(*url, (RedisUrl{.user = "u",
                            .password = "p",
                            .database = 3,
                            .tls = true,
                            .sentinels = {{"a", 26379}, {"b", 1}, {"::1", 2}},
                            .master_name = "my master"}));
  EXPECT_EQ(url->shown(), "rediss+sentinel://u:***@a:26379,b:1,[::1]:2/my master/3");
  for (const char* text : {"redis+sentinel://", "redis+sentinel://a", "redis+sentinel://a/", "redis+sentinel://a//1",
                           "redis+sentinel://a,/m", "redis+sentinel://a/m/x", "redis+other://a/m", "redis+://a/m"}) {
    EXPECT_FALSE(parse_redis_url(text).ok()) << text;
  }
}

TEST(RedisUrl, RefusesTheRestAndNeverShowsAPassword) {
  for (const char* text : {"",
                           "localhost",
                           "http://h",
                           "redis://",
                           "redis://:secret@",
                           "redis://h:0",
                           "redis://h:65536",
                           "redis://h:x",
                           "redis://h:-1",
                           "redis://h:",
                           "redis://secret@h",
                           "redis://u:@h",
                           "redis://h/x",
                           "redis://h/-1",
                           "redis://h/1/2",
                           "redis://[::1",
                           "redis://[::1]6379",
                           "redis://u:secret%4@h",
                           "redis://u:secret%zz@h",
                           "unix://relative",
                           "unix:///a?x=1",
                           "unix:///a?db=x",
                           "redis://a b",
                           "REDIS://h"}) {
    const auto parsed = parse_redis_url(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.error().code, Errc::kInvalidArgument);
    EXPECT_EQ(parsed.error().message.find("secret"), std::string::npos) << parsed.error().message;
  }
}

TEST(RedisUrl, IsShownWithoutItsPassword) {
  for (const auto& [text, shown] :
       std::vector<std::pair<std::string, std::string>>{{"redis://h", "redis://h:6379"},
                                                        {"rediss://u:secret@h:1/2", "rediss://u:***@h:1/2"},
                                                        {"redis://:secret@[::1]", "redis://:***@[::1]:6379"},
                                                        {"unix://:secret@/s?db=1", "unix://:***@/s?db=1"}}) {
    EXPECT_EQ(parse_redis_url(text)->shown(), shown);
  }
}

TEST(RedisError, IsTheFirstWord) {
  EXPECT_EQ(classify("NOAUTH Authentication required."), RedisError::kNoAuth);
  EXPECT_EQ(classify("LOADING Redis is loading the dataset in memory"), RedisError::kLoading);
  EXPECT_EQ(classify("OOM command not allowed when used memory > 'maxmemory'."), RedisError::kOutOfMemory);
  EXPECT_EQ(classify("BUSY Redis is busy running a script."), RedisError::kBusy);
  EXPECT_EQ(classify("BUSYGROUP Consumer Group name already exists"), RedisError::kBusyGroup);
  EXPECT_EQ(classify("CROSSSLOT Keys in request don't hash to the same slot"), RedisError::kCrossSlot);
  EXPECT_EQ(classify("ERR unknown command"), RedisError::kOther);
  EXPECT_EQ(classify("ERR invalid password"), RedisError::kWrongPass);
  EXPECT_EQ(classify(""), RedisError::kOther);
  EXPECT_EQ(classify("LOADINGS"), RedisError::kOther);
  EXPECT_EQ(to_string(RedisError::kNoGroup), "NOGROUP");
  EXPECT_EQ(to_string(RedisError::kLost), "lost");
  EXPECT_TRUE(is_transient(RedisError::kLoading));
  EXPECT_FALSE(is_transient(RedisError::kWrongPass));
}

TEST(Redirections, AreReadOrRefused) {
  const auto moved = parse_redirect("MOVED 3999 127.0.0.1:6381");
  ASSERT_TRUE(moved.ok());
  EXPECT_EQ(moved->slot, 3999);
  EXPECT_EQ(moved->host, "127.0.0.1");
  EXPECT_EQ(moved->port, 6381);
  EXPECT_EQ(parse_redirect("ASK 16383 fe80::1:7000")->host, "fe80::1");
  EXPECT_EQ(parse_redirect("MOVED 1 :7000")->host, "");
  for (const char* text : {"MOVED", "MOVED ", "MOVED 1", "MOVED 1 h", "MOVED x h:1", "MOVED 16384 h:1", "MOVED 1 h:0",
                           "MOVED 1 h:65536", "MOVED 1 h:", "OTHER 1 h:1", "", "ASK :1 2"}) {
    EXPECT_FALSE(parse_redirect(text).ok()) << text;
  }
}

TEST(Backoff, GrowsToItsMaximumWithFullJitter) {
  Backoff backoff(50, 1000, 1);
  std::int64_t most = 0;
  const std::int64_t ceilings[] = {50, 100, 200, 400, 800, 1000, 1000};
  for (int round = 0; round < 200; ++round) {
    for (const std::int64_t ceiling : ceilings) {
      const std::int64_t wait = backoff.next_ns();
      EXPECT_GE(wait, 0);
      EXPECT_LT(wait, ceiling);
      most = std::max(most, wait);
    }
    backoff.reset();
  }
  EXPECT_GT(most, 900);
  for (int i = 0; i < 100; ++i) EXPECT_LT(backoff.next_ns(), 1000);
  Backoff wide(1, INT64_MAX, 1);
  for (int i = 0; i < 100; ++i) EXPECT_GE(wide.next_ns(), 0);
}

}  // namespace
}  // namespace stem::federation
