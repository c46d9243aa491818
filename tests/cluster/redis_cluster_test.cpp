// The commands for all hosts, over a real Redis Cluster whose slots lie on two nodes.
#include <filesystem>
#include <fstream>

#include "federation/transcript.hpp"
#include "tests/cluster/cluster_test.hpp"
#include "tests/federation/redis_cluster.hpp"

namespace stem::test {
namespace {

using nlohmann::json;

class RedisClusterTest : public ClusterTest {
 protected:
  RedisClusterTest() : a(url(), ledger), b(url(), ledger) {
    a.gateway_options().node = "alpha";
    b.gateway_options().node = "beta";
    a.gateway_options().cluster = b.gateway_options().cluster = true;
    a.start_gateway();
    b.start_gateway();
  }
  // The node that does not have the queue.
  std::string url() { return cluster.url(1 - cluster.owner_of(cluster.slot_of(tagged.stream("q", 0)))); }
  std::vector<std::string> command(std::vector<std::string> words) {
    words.insert(words.end(), {"--redis", url(), "--redis-namespace", "stem", "--redis-cluster"});
    return words;
  }
  OwnedReply at_home(const std::string& key, std::vector<std::string_view> argv) {
    return cluster.at(cluster.owner_of(cluster.slot_of(key)), std::move(argv));
  }
  static std::string name_of(Host& host, engine::TaskId id) {
    return federation::wire_id(federation::Transcript(host.segment()).host(), id);
  }

  RedisCluster cluster;
  federation::Keys tagged{"stem", true};
  Host a, b;
};

TEST_F(RedisClusterTest, TasksAreFoundAndRevoked) {
  const engine::TaskId kept = a.enqueue(1, /*keep_result=*/true), let_go = a.enqueue(2);
  ASSERT_TRUE(wait_until([&] { return a.counter(shm::Counter::kExported) >= 1; }, kLong));
  const std::string name = name_of(a, let_go);
  EXPECT_EQ(json_on(b, command({"task", "show", name}), 1)[0]["state"], nullptr);
  b.start_worker();
  ASSERT_TRUE(wait_until([&] { return ran() == 2; }, kLong));
  ASSERT_TRUE(wait_until([&] { return stem_on(b, command({"task", "show", name})).exit_code == 0; }, kLong));
  EXPECT_EQ(json_on(b, command({"task", "show", name}))[0]["state"], "ended");
  EXPECT_EQ(json_on(b, command({"task", "wait", name_of(a, kept)}))[0]["state"], "succeeded");
  EXPECT_EQ(json_on(b, command({"task", "revoke", name}), 70)[0]["outcome"], "over");

  b.kill_workers();
  b.kill_gateway();
  const engine::TaskId late = a.enqueue(3, /*keep_result=*/true);
  EXPECT_EQ(json_on(a, command({"task", "revoke", name_of(a, late)}))[0]["outcome"], "sent");
  EXPECT_EQ(at_home(tagged.revokes(), {"HLEN", tagged.revokes()}).integer, 1);
  b.start_worker();
  b.start_gateway();
  const std::string over = name_of(a, late);
  ASSERT_TRUE(wait_until([&] { return stem_on(b, command({"task", "show", over})).exit_code == 0; }, kLong));
  EXPECT_EQ(json_on(b, command({"task", "show", over}))[0]["state"], "cancelled");
  EXPECT_EQ(ran(), 2u);
}

TEST_F(RedisClusterTest, DeadLettersAreReplayedAndPurged) {
  b.start_worker(Conduct::kFailForGood);
  const engine::TaskId id = a.enqueue(1, /*keep_result=*/true), other = a.enqueue(2, /*keep_result=*/true);
  const std::string dead = tagged.dead("q");
  ASSERT_TRUE(wait_until([&] { return at_home(dead, {"LLEN", dead}).integer == 2; }, kLong));
  const json listed = json_on(b, command({"dlq", "list"}));
  ASSERT_EQ(listed["letters"].size(), 2u);
  EXPECT_EQ(listed["letters"][0]["queue"], "q");
  b.kill_workers();
  b.start_worker();
  EXPECT_EQ(json_on(b, command({"dlq", "replay", "--id", name_of(a, id), "--yes"}))["replayed"], 1);
  EXPECT_TRUE(wait_until([&] { return ledger.runs(1) == 2; }, kLong));
  EXPECT_EQ(json_on(b, command({"dlq", "purge", "--id", name_of(a, other), "--yes"}))["purged"], 1);
  EXPECT_EQ(at_home(dead, {"LLEN", dead}).integer, 0);
}

TEST_F(RedisClusterTest, HostsAreSeenAndAsked) {
  for (const char* gateway : {"gateway:alpha", "gateway:beta"}) {
    const std::string key = tagged.worker_heartbeat(gateway);
    ASSERT_TRUE(wait_until([&] { return at_home(key, {"EXISTS", key}).integer == 1; }, kLong));
  }
  const json seen = json_on(a, command({"observe", "federation"}))["cluster"];
  EXPECT_EQ(seen["error"], nullptr);
  ASSERT_EQ(seen["members"].size(), 2u) << seen.dump();
  EXPECT_EQ(seen["members"][0]["node"], "alpha");
  ASSERT_EQ(seen["queues"].size(), 1u);
  EXPECT_EQ(seen["queues"][0]["queue"], "q");
  const json status = json_on(a, command({"worker", "status"}), 3);
  ASSERT_EQ(status["hosts"].size(), 2u) << status.dump();
  EXPECT_EQ(status["hosts"][0]["answered"], true);
  EXPECT_EQ(status["hosts"][1]["answered"], true);
}

// Both ends of what a limit needs: it is accepted with the schedule, and holds on every host that runs its tasks.
TEST_F(RedisClusterTest, SchedulesWithLimitsHoldThemOnAllHosts) {
  ScratchDirectory directory;
  const std::string path = directory.file("schedules.json");
  std::ofstream(path) << R"([{"id":"s","task":"count","queue":"q","spec":"every:5ms","misfire":"all","args":{"n":7},
    "concurrencyLimit":1,"rateLimit":"2000/s","groupRateLimit":"3000/s","groupRateKey":"g","rateLimiterFailureMode":"failClosed"}])";
  const auto applied = stem_on(a, command({"schedule", "apply", "-f", path}));
  ASSERT_EQ(applied.exit_code, 0) << applied.err;
  EXPECT_EQ(json_on(b, command({"schedule", "list"})).dump().find("\"s\"") != std::string::npos, true);
  const std::string shm = a.gateway_options().directory;
  std::vector<std::string> words = command({"stem", "beat", "start"});
  Process beat([&] {
    ::setenv("STEM_SHM_DIRECTORY", shm.c_str(), 1);
    ::setenv("STEM_NAMESPACE", "test", 1);
    ::setenv("STEM_LOG", "error", 1);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv(cli_test::stem_path().c_str(), argv.data());
    return 127;
  });
  const std::string stream = tagged.stream("q", 0);
  ASSERT_TRUE(wait_until(
      [&] {
        return at_home(stream, {"XLEN", stream}).integer >= 100;
      },
      kLong))
      << "nobody runs them";
  const OwnedReply first = at_home(stream, {"XRANGE", stream, "-", "+", "COUNT", "1"});
  std::string meta;
  const auto& fields = first.elements.at(0).elements.at(1).elements;
  for (std::size_t i = 0; i + 1 < fields.size(); i += 2)
    if (fields[i].text == "meta") meta = fields[i + 1].text;
  for (const char* limit : {"stem.rateLimit", "stem.groupRateLimit", "stem.concurrencyLimit"})
    EXPECT_NE(meta.find(limit), std::string::npos) << meta;
  for (Host* host : {&a, &b}) {
    host->start_worker(Conduct::kTakeTime);
    host->start_worker(Conduct::kTakeTime);
  }
  ASSERT_TRUE(wait_until([&] { return ledger.runs(7) >= 200; }, kLong)) << ledger.runs(7);
  EXPECT_EQ(ledger.most_at_once(), 1u);
  EXPECT_EQ(stem_on(a, command({"schedule", "delete", "s", "--yes"})).exit_code, 0);
  EXPECT_EQ(json_on(b, command({"schedule", "list"})).dump().find("\"s\""), std::string::npos);
}

}  // namespace
}  // namespace stem::test
