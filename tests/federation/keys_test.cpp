#include "federation/keys.hpp"

#include <gtest/gtest.h>

#include <string>

namespace stem::federation {
namespace {

TEST(Keys, AreThoseOfTheWire) {
  const Keys keys;
  EXPECT_EQ(keys.stream("mail", 0), "stem:stream:mail");
  EXPECT_EQ(keys.stream("mail", 1), "stem:stream:mail:p1");
  EXPECT_EQ(keys.stream("mail", 9), "stem:stream:mail:p9");
  EXPECT_EQ(keys.stream("mail", 12), "stem:stream:mail:p9");
  EXPECT_EQ(keys.stream("mail", -1), "stem:stream:mail");
  EXPECT_EQ(keys.group("mail"), "stem:group:mail");
  EXPECT_EQ(keys.delayed("mail"), "stem:delayed:mail");
  EXPECT_EQ(keys.dead("mail"), "stem:dead:mail");
  EXPECT_EQ(keys.ended("mail"), "stem:ended:mail");
  EXPECT_EQ(keys.result("mail", "42"), "stem:result:42");
  EXPECT_EQ(keys.worker_heartbeat("w1"), "stem:worker:heartbeat:w1");
  EXPECT_EQ(keys.worker_heartbeats(), "stem:worker:heartbeats");
  EXPECT_EQ(keys.schedule_index(), "stem:schedule:index");
  EXPECT_EQ(keys.schedule("nightly"), "stem:schedule:nightly");
  EXPECT_EQ(keys.schedule_lock("nightly"), "stem:schedule:nightly:lock");
  EXPECT_EQ(keys.schedule_history("nightly"), "stem:schedule:nightly:history");
  EXPECT_EQ(keys.lock("beat"), "stem:lock:beat");
  EXPECT_EQ(keys.unique("mail", "12ab"), "stem:unique:mail:12ab");
  EXPECT_EQ(keys.rate("mail:acme"), "stem:rate:mail:acme");
  EXPECT_EQ(keys.places("mail"), "stem:places:mail");
  EXPECT_EQ(keys.revokes(), "stem:control:revokes");
  EXPECT_EQ(Keys("prod").heartbeat_channel(), "stem:heartbeat:prod");
  EXPECT_EQ(Keys("prod").stream("mail", 3), "prod:stream:mail:p3");
}

// What a cluster hashes of a key: between the first '{' and the '}' after it, when something is there.
std::string hashed(const std::string& key) {
  const std::size_t open = key.find('{');
  const std::size_t close = open == std::string::npos ? open : key.find('}', open);
  if (close == std::string::npos || close == open + 1) return key;
  return key.substr(open + 1, close - open - 1);
}

TEST(Keys, OfOneQueueShareASlotInACluster) {
  const Keys keys("stem", true);
  for (const std::string queue : {"mail", "a{b}c", "}", "{}", "größe"}) {
    const std::string slot = hashed(keys.stream(queue, 0));
    EXPECT_NE(slot, keys.stream(queue, 0));
    EXPECT_EQ(hashed(keys.stream(queue, 9)), slot);
    EXPECT_EQ(hashed(keys.delayed(queue)), slot);
    EXPECT_EQ(hashed(keys.dead(queue)), slot);
    EXPECT_EQ(hashed(keys.result(queue, "42")), slot);
    EXPECT_EQ(hashed(keys.ended(queue)), slot);
    EXPECT_NE(keys.stream(queue, 0), keys.delayed(queue));
  }
  EXPECT_EQ(keys.stream("mail", 2), "{stem:mail}:stream:p2");
  EXPECT_NE(hashed(keys.stream("mail", 0)), hashed(keys.stream("sms", 0)));
  EXPECT_EQ(hashed(keys.schedule_index()), hashed(keys.schedule_lock("nightly")));
  EXPECT_EQ(hashed(keys.lock("x")), hashed(keys.lock_fence("x")));
  EXPECT_EQ(hashed(keys.worker_heartbeat("a")), hashed(keys.worker_heartbeats()));
  EXPECT_EQ(hashed(keys.revokes()), hashed(keys.worker_heartbeats()));
  EXPECT_EQ(keys.group("mail"), "stem:group:mail");
}

TEST(Keys, NameTheirQueues) {
  for (const bool cluster : {false, true}) {
    const Keys keys("a*b", cluster);
    for (const std::string queue : {"mail", "a:b", "}", "größe", "x:p10"}) {
      EXPECT_EQ(keys.queue_of_stream(keys.stream(queue, 0)), queue);
      EXPECT_EQ(keys.queue_of_stream(keys.stream(queue, 7)), queue);
      EXPECT_EQ(keys.queue_of_dead(keys.dead(queue)), queue);
    }
    EXPECT_EQ(keys.queue_of_dead(keys.stream("mail", 0)), "");
    EXPECT_EQ(keys.queue_of_stream("something else"), "");
  }
  EXPECT_EQ(Keys("a*b").any_stream(), "a\\*b:stream:*");
  EXPECT_EQ(Keys("a*b", true).any_dead(), "{a\\*b:*}:dead*");
}

TEST(Keys, OfAQueueThatLooksLikeALane) {
  EXPECT_EQ(Keys::lane_owner("mail:p1"), "mail");
  EXPECT_EQ(Keys::lane_owner("mail:p9"), "mail");
  for (const std::string queue : {"mail", "mail:p0", "mail:p10", ":p1", "p1", "mailp1", ""})
    EXPECT_EQ(Keys::lane_owner(queue), "") << queue;
}

}  // namespace
}  // namespace stem::federation
