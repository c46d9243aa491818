// What is seen of gateways, hosts and workers: on the host without Redis, and from everywhere with it.
#include <fstream>

#include "federation/gateway_status.hpp"
#include "federation/registry.hpp"
#include "shm/names.hpp"
#include "tests/cluster/cluster_test.hpp"

namespace stem::test {
namespace {

using nlohmann::json;

class ObserveTest : public ClusterTest {
 protected:
  json gateway_of(Host& host) { return json_on(host, {"observe", "federation"})["gateway"]; }
  bool shows(Host& host, const std::string& member, bool value) {
    const json gateway = gateway_of(host);
    return gateway.is_object() && gateway[member] == value;
  }
  json member(const json& look, const std::string& id) {
    for (const json& one : look["cluster"]["members"])
      if (one["id"] == id) return one;
    return nullptr;
  }
};

TEST_F(ObserveTest, AHostShowsItsGatewayWithoutRedis) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  EXPECT_TRUE(gateway_of(a).is_null()) << "none has run";
  a.start_gateway();
  b.start_worker();
  b.start_gateway();
  for (std::uint64_t i = 0; i < 50; ++i) (void)a.enqueue(i, /*keep_result=*/true);
  ASSERT_TRUE(wait_until([&] { return ran() == 50; }, kLong));
  json there, here;
  ASSERT_TRUE(wait_until([&] { return (here = gateway_of(a))["queues"][0]["results"] == 50; }, kLong)) << here;
  ASSERT_TRUE(wait_until([&] { return (there = gateway_of(b))["queues"][0]["settled"] == 50; }, kLong)) << there;
  EXPECT_EQ(here["state"], "running");
  EXPECT_EQ(here["connected"], true);
  EXPECT_EQ(here["pid"], a.gateway().pid());
  EXPECT_EQ(here["redis"], server.url());
  EXPECT_EQ(here["lastFault"], nullptr);
  EXPECT_EQ(here["queues"][0]["queue"], "q");
  EXPECT_EQ(here["queues"][0]["exports"], true);
  EXPECT_EQ(here["queues"][0]["confirmed"], 50);
  EXPECT_EQ(here["queues"][0]["awaited"], 0);
  EXPECT_EQ(there["queues"][0]["imported"], 50);
  EXPECT_EQ(there["queues"][0]["here"], 0);
  const cli_test::Outcome page = stem_on(a, {"observe", "federation"});
  EXPECT_EQ(page.exit_code, 0);
  EXPECT_NE(page.out.find("connected for"), std::string::npos) << page.out;
}

TEST_F(ObserveTest, AnOutageAndAKilledGatewayAreSeen) {
  Host a(server.url(), ledger);
  a.start_gateway();
  ASSERT_TRUE(wait_until([&] { return shows(a, "connected", true); }, kLong));
  server.kill();
  ASSERT_TRUE(wait_until([&] { return shows(a, "connected", false); }, kLong));
  EXPECT_NE(gateway_of(a)["lastFault"], nullptr);
  EXPECT_GE(gateway_of(a)["losses"], 1);
  server.restart();
  ASSERT_TRUE(wait_until([&] { return shows(a, "connected", true); }, kLong));
  a.kill_gateway();
  ASSERT_TRUE(wait_until([&] { return gateway_of(a)["state"] == "ended"; }, kLong));
  EXPECT_EQ(gateway_of(a)["connected"], false);
  a.start_gateway();
  ASSERT_TRUE(wait_until([&] { return gateway_of(a)["state"] == "running"; }, kLong));
  a.gateway().signal(SIGTERM);
  EXPECT_EQ(a.gateway().wait(), 0);
  EXPECT_TRUE(gateway_of(a).is_null()) << "it ended in good order";
}

TEST_F(ObserveTest, TheClusterIsSeenFromEveryHost) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  a.gateway_options().node = "alpha";
  b.gateway_options().node = "beta";
  b.start_worker();
  a.start_gateway();
  b.start_gateway();
  (void)ask({"ZADD", keys.delayed("q"), "99999999999999", "{}"});
  (void)ask({"LPUSH", keys.dead("q"), "{}"});
  const auto look = [&] {
    return json_on(a, {"observe", "federation", "--redis", server.url(), "--redis-namespace", "stem"});
  };
  json seen;
  ASSERT_TRUE(wait_until(
      [&] {
        seen = look();
        return !member(seen, "gateway:alpha").is_null() && !member(seen, "gateway:beta").is_null();
      },
      kLong));
  EXPECT_EQ(member(seen, "gateway:beta")["state"], "alive");
  EXPECT_EQ(member(seen, "gateway:beta")["kind"], "gateway");
  EXPECT_EQ(member(seen, "gateway:beta")["heartbeat"]["extras"]["federation"][0]["queue"], "q");
  EXPECT_EQ(seen["cluster"]["queues"][0]["queue"], "q");
  EXPECT_EQ(seen["cluster"]["queues"][0]["delayed"], 1);
  EXPECT_EQ(seen["cluster"]["queues"][0]["dead"], 1);
  // Gone in good order: no part of the cluster any more. Lost: silent, then gone.
  a.gateway().signal(SIGTERM);
  EXPECT_EQ(a.gateway().wait(), 0);
  b.kill_gateway();
  (void)ask({"PEXPIRE", keys.worker_heartbeat("gateway:beta"), "20000"});  // as after 40 s
  seen = look();
  EXPECT_TRUE(member(seen, "gateway:alpha").is_null());
  EXPECT_EQ(member(seen, "gateway:beta")["state"], "silent");
  (void)ask({"DEL", keys.worker_heartbeat("gateway:beta")});
  seen = look();
  EXPECT_EQ(member(seen, "gateway:beta")["state"], "gone");
  EXPECT_EQ(member(seen, "gateway:beta")["ageNs"], nullptr);
}

TEST_F(ObserveTest, EveryWorkerHasAHeartbeat) {
  Host b(server.url(), ledger);
  b.gateway_options().node = "beta";
  b.start_worker();
  b.start_worker();
  b.start_gateway();
  const auto workers = [&] {
    std::vector<std::string> found;
    for (const auto& id : ask({"SMEMBERS", keys.worker_heartbeats()}).elements)
      if (id.text.starts_with("beta:")) found.push_back(id.text);
    return found;
  };
  // The test's workers are nameless and share an id; a gateway that begins anew counts them again.
  ASSERT_TRUE(wait_until([&] { return !workers().empty(); }, kLong));
  const json beat = beat_of(workers()[0]);
  EXPECT_EQ(beat["version"], "1");
  EXPECT_EQ(beat["workerId"], workers()[0]);
  EXPECT_EQ(beat["namespace"], "stem");
  EXPECT_TRUE(beat["timestamp"].is_string());
  EXPECT_EQ(beat["isolateCount"], 1);
  EXPECT_EQ(beat["queues"][0]["name"], "q");
  EXPECT_EQ(beat["extras"]["kind"], "worker");
  EXPECT_EQ(beat["extras"]["node"], "beta");
  EXPECT_EQ(beat["extras"]["subscriptions"]["queues"][0], "q");
  const auto kept = ask({"PTTL", keys.worker_heartbeat(workers()[0])}).integer;
  EXPECT_GT(kept, 0);
  EXPECT_LE(kept, 60'000);
}

TEST_F(ObserveTest, AStatusFileThatMakesNoSenseIsNoGateway) {
  Host a(server.url(), ledger);
  const std::string path = a.gateway_options().directory + "/.test.gateway";
  for (const std::string text : {"", "nonsense", "[1]", "{\"pid\":-3,\"queues\":[1,{\"here\":\"x\"}],\"since\":7}"}) {
    std::ofstream(path) << text;
    const cli_test::Outcome page = stem_on(a, {"observe", "federation"});
    EXPECT_EQ(page.exit_code, 0) << text << page.err;
  }
  EXPECT_EQ(stem_on(a, {"segment", "list"}).out.find(".gateway"), std::string::npos);
}

TEST_F(ObserveTest, ARedisThatDoesNotAnswerIsSaidBesideWhatTheHostKnows) {
  Host a(server.url(), ledger);
  a.start_gateway();
  ASSERT_TRUE(wait_until([&] { return shows(a, "connected", true); }, kLong));
  const json seen = json_on(a, {"observe", "federation", "--redis", "unix:///nonexistent/redis.sock"}, 70);
  EXPECT_EQ(seen["gateway"]["state"], "running");
  EXPECT_NE(seen["cluster"]["error"], nullptr);
  EXPECT_EQ(stem_on(a, {"observe", "federation", "--redis", "http://x"}).exit_code, 2);
}

}  // namespace
}  // namespace stem::test
