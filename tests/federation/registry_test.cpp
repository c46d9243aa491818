// When a host says that it lives.
#include "federation/registry.hpp"

#include <gtest/gtest.h>

#include "tests/federation/scripted_redis.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::test {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;

TEST(Registry, BeatsAsOftenAsItWasTold) {
  const ScratchDirectory directory;
  Attached host(must_create(small_segment(directory)), shm::Role::kTool);
  const federation::Keys keys{"stem"};
  ScriptedRedis redis;
  federation::Registry registry(*host, redis, keys, 3 * kSecondNs);
  federation::GatewayStatus status;
  status.node = "alpha";
  const auto step = [&](std::int64_t now_ns) {
    redis.sent.clear();
    registry.step(status, {.now_ns = now_ns});
    return redis.waiting("PUBLISH");
  };
  EXPECT_EQ(step(10 * kSecondNs), 1u);
  EXPECT_EQ(step(13 * kSecondNs - 1), 0u);
  EXPECT_FALSE(registry.is_due(13 * kSecondNs - 1));
  EXPECT_EQ(step(13 * kSecondNs), 1u);
  EXPECT_EQ(redis.first("SET").argv.at(1), keys.worker_heartbeat("gateway:alpha"));
  registry.beat_now();
  EXPECT_EQ(step(13 * kSecondNs + 1), 1u) << "a connection is new";
}

}  // namespace
}  // namespace stem::test
