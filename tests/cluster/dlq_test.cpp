// Dead letters that are in Redis, from any host.
#include "engine/dead_letters.hpp"
#include "federation/dead_shelf.hpp"
#include "federation/records.hpp"
#include "tests/cluster/cluster_test.hpp"

namespace stem::test {
namespace {

using nlohmann::json;

class DlqTest : public ClusterTest {
 protected:
  DlqTest() : a(server.url(), ledger) {}

  std::vector<std::string> dlq(std::vector<std::string> args) const {
    args.insert(args.begin(), "dlq");
    args.insert(args.end(), {"--redis", server.url(), "--redis-namespace", "stem"});
    return args;
  }
  void put(const std::string& id, const std::string& reason, const std::string& error, const std::string& dead_at,
           const std::string& queue = "q") {
    const std::string text = R"({"envelope":{"id":")" + id + R"(","name":"count","args":{"n":)" + id +
                             R"(},"attempt":3,"priority":4,"queue":")" + queue +
                             R"(","bigNumber":123456789012345678901},)" + R"("reason":")" + reason +
                             R"(","meta":{"error":{"type":"broken","message":")" + error + R"("}},"deadAt":")" +
                             dead_at + "\"}";
    (void)ask({"LPUSH", keys.dead(queue), text});
  }
  std::int64_t dead(const std::string& queue = "q") { return ask({"LLEN", keys.dead(queue)}).integer; }
  std::vector<std::string> ids(const json& document) {
    std::vector<std::string> found;
    for (const json& letter : document["letters"]) found.push_back(letter["id"]);
    return found;
  }

  Host a;
};

TEST_F(DlqTest, AreListedOldestFirstByAnyFilter) {
  put("1", "max-retries-exhausted", "no", "2026-01-01T00:00:00Z");
  put("2", "poison-pill", "SIGSEGV", "2026-01-03T00:00:00Z");
  put("3", "max-retries-exhausted", "no", "2026-01-02T00:00:00Z");
  put("4", "max-retries-exhausted", "other", "2026-01-04T00:00:00Z", "mail");
  const json all = json_on(a, dlq({"list"}));
  EXPECT_EQ(ids(all), (std::vector<std::string>{"1", "3", "2", "4"}));
  EXPECT_EQ(all["letters"][0]["attempts"], 3);
  EXPECT_EQ(all["letters"][0]["reason"], "max-retries-exhausted");
  EXPECT_EQ(all["letters"][0]["error"]["message"], "no");
  EXPECT_EQ(all["letters"][0]["deadAt"], "2026-01-01T00:00:00.000Z");
  EXPECT_EQ(all["letters"][0]["fingerprint"], all["letters"][1]["fingerprint"]);
  EXPECT_NE(all["letters"][0]["fingerprint"], all["letters"][3]["fingerprint"]);
  EXPECT_EQ(ids(json_on(a, dlq({"list", "-q", "mail"}))), std::vector<std::string>{"4"});
  EXPECT_EQ(ids(json_on(a, dlq({"list", "--reason", "poison-pill"}))), std::vector<std::string>{"2"});
  EXPECT_EQ(ids(json_on(a, dlq({"list", "--since", "2026-01-03"}))), (std::vector<std::string>{"2", "4"}));
  const json page = json_on(a, dlq({"list", "--limit", "1", "--offset", "1"}));
  EXPECT_EQ(ids(page), std::vector<std::string>{"3"});
  EXPECT_EQ(page["matching"], 4);
  const std::string alike = all["letters"][0]["fingerprint"];
  EXPECT_EQ(ids(json_on(a, dlq({"list", "--fingerprint", alike}))), (std::vector<std::string>{"1", "3"}));
  EXPECT_EQ(json_on(a, dlq({"show", "2"}))[0]["id"], "2");
  EXPECT_EQ(stem_on(a, dlq({"show", "99"})).exit_code, 1);
  EXPECT_EQ(stem_on(a, {"dlq", "list", "--all-hosts"}).exit_code, 2) << "no Redis is named";
}

TEST_F(DlqTest, AReplayRunsAgainWithAllItsAttempts) {
  put("1", "max-retries-exhausted", "no", "2026-01-01T00:00:00Z");
  put("2", "max-retries-exhausted", "no", "2026-01-02T00:00:00Z");
  (void)ask({"SET", keys.result("q", "1"), R"({"id":"1","state":"failed"})"});
  const json look = json_on(a, dlq({"replay", "--dry-run"}));
  EXPECT_EQ(look["dryRun"], true);
  EXPECT_EQ(look["blastRadius"]["count"], 2);
  EXPECT_EQ(look["blastRadius"]["byTask"]["count"], 2);
  EXPECT_EQ(look["blastRadius"]["oldest"], "2026-01-01T00:00:00.000Z");
  EXPECT_EQ(dead(), 2) << "a dry run changes nothing";
  const json done = json_on(a, dlq({"replay", "--id", "1", "--yes"}));
  EXPECT_EQ(done["replayed"], 1);
  EXPECT_EQ(dead(), 1);
  const OwnedReply entries = ask({"XRANGE", keys.stream("q", 4), "-", "+"});
  ASSERT_EQ(entries.elements.size(), 1u);
  std::map<std::string, std::string> fields;
  const auto& texts = entries.elements[0].elements[1].elements;
  for (std::size_t i = 0; i + 1 < texts.size(); i += 2) fields[texts[i].text] = texts[i + 1].text;
  EXPECT_EQ(fields["attempt"], "0");
  EXPECT_EQ(fields["args"], "{\"n\":1}");
  EXPECT_EQ(fields["bigNumber"], "123456789012345678901");
  EXPECT_EQ(ask({"EXISTS", keys.result("q", "1")}).integer, 0) << "it has not ended";
  Host b(server.url(), ledger);
  b.start_worker();
  b.start_gateway();
  EXPECT_TRUE(wait_until([&] { return ledger.runs(1) == 1; }, kLong));
  (void)json_on(a, dlq({"replay", "--id", "2", "--delay", "1h", "--yes"}));
  EXPECT_EQ(dead(), 0);
  EXPECT_EQ(ask({"ZCARD", keys.delayed("q")}).integer, 1);
  EXPECT_EQ(ledger.runs(2), 0u);
}

TEST_F(DlqTest, WhatIsNoDeadLetterIsShownAndCanOnlyBePurged) {
  (void)ask({"LPUSH", keys.dead("q"), "nonsense"});
  (void)ask({"LPUSH", keys.dead("q"), "{\"envelope\":{}}"});
  put("1", "poison-pill", "x", "2026-01-01T00:00:00Z");
  const json all = json_on(a, dlq({"list"}));
  ASSERT_EQ(all["letters"].size(), 3u);
  int raw = 0;
  std::string id;
  for (const json& letter : all["letters"]) {
    if (!letter["id"].get<std::string>().starts_with("raw:")) continue;
    ++raw;
    EXPECT_EQ(letter["replayable"], false);
    id = letter["id"];
  }
  EXPECT_EQ(raw, 2);
  EXPECT_EQ(stem_on(a, dlq({"show", id})).exit_code, 0);
  EXPECT_EQ(stem_on(a, dlq({"replay", "--id", id, "--yes"})).exit_code, 70);
  EXPECT_EQ(json_on(a, dlq({"replay", "--yes"}))["replayed"], 1) << "the others stay";
  EXPECT_EQ(dead(), 2);
  EXPECT_EQ(json_on(a, dlq({"purge", "--id", id, "--yes"}))["purged"], 1);
  EXPECT_EQ(json_on(a, dlq({"purge", "--yes"}))["purged"], 1);
  EXPECT_EQ(dead(), 0);
  EXPECT_EQ(stem_on(a, dlq({"purge"})).exit_code, 0) << "nothing to do";
}

// Each letter is moved in one step: whoever was quicker has it, and it never is in both places or in none.
TEST_F(DlqTest, AReplayOfWhatIsGoneDoesNothingAndARefusedOneLosesNothing) {
  put("1", "poison-pill", "x", "2026-01-01T00:00:00Z");
  federation::RedisOptions options;
  options.url = *federation::parse_redis_url(server.url());
  const auto client = federation::BlockingClient::connect(options);
  ASSERT_TRUE(client.ok());
  const auto letters = federation::dead_letters_of(**client, keys, "q");
  ASSERT_TRUE(letters.ok());
  ASSERT_EQ(letters->size(), 1u);
  (void)ask({"SET", keys.stream("q", 4), "not a stream"});
  EXPECT_FALSE(federation::replay_letter(**client, keys, letters->front(), 0).ok());
  EXPECT_EQ(dead(), 1);
  (void)ask({"DEL", keys.stream("q", 4)});
  const auto first = federation::replay_letter(**client, keys, letters->front(), 0);
  const auto second = federation::replay_letter(**client, keys, letters->front(), 0);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(*first);
  EXPECT_FALSE(*second);
  EXPECT_EQ(ask({"XLEN", keys.stream("q", 4)}).integer, 1);
  EXPECT_EQ(dead(), 0);
}

TEST_F(DlqTest, ManyLargeLettersComeInPages) {
  const std::string large(1'000'000, 'x');
  for (int i = 0; i < 40; ++i) {
    const std::string n = std::to_string(i);
    (void)ask({"LPUSH", keys.dead("q"),
               R"({"envelope":{"id":")" + n + R"(","name":"count","args":{"x":")" + large +
                   R"("}},"reason":"poison-pill","meta":{},"deadAt":"2026-01-01T00:00:00Z"})"});
  }
  const json all = json_on(a, dlq({"list"}));
  EXPECT_EQ(all["matching"], 40);
  EXPECT_EQ(all["letters"][0]["id"], "0") << "of those that died together the first comes first";
}

// What gateways themselves put there: from death on one host to the replay from another.
TEST_F(DlqTest, FromTheDeathOnOneHostToTheReplayFromAnother) {
  Host b(server.url(), ledger), c(server.url(), ledger);
  a.start_gateway();
  b.start_worker(Conduct::kFailForGood);
  b.start_gateway();
  for (std::uint64_t i = 0; i < 10; ++i) (void)a.enqueue(i);
  ASSERT_TRUE(wait_until([&] { return dead() == 10; }, kLong));
  b.kill_workers();
  b.kill_gateway();
  const json done = json_on(c, dlq({"replay", "--reason", "permanent-failure", "--yes"}));
  EXPECT_EQ(done["replayed"], 10);
  c.start_worker();
  c.start_gateway();
  ASSERT_TRUE(wait_until([&] { return ledger.extra() == 10; }, kLong));
  EXPECT_EQ(dead(), 0);
}

}  // namespace
}  // namespace stem::test
