// A program in another language on the same Redis (tests/interop): it knows the wire and nothing of our code. What it
// enqueues runs here, what we export it runs, and dead letters and delayed tasks are both sides' own.
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/query.hpp"
#include "federation/signing.hpp"
#include "tests/federation/fixtures.hpp"
#include "tests/federation/hosts.hpp"
#include "tests/support/redis_server.hpp"
#include "tests/support/wait.hpp"

namespace stem::test {
namespace {

using nlohmann::json;

class NodeInterop : public ::testing::Test {
 protected:
  // What `node tests/interop/client.js` prints; null, and a failure, when it does not end well.
  json node(const std::string& command, const std::vector<std::string>& arguments = {}) {
    std::string line =
        "node '" STEM_SOURCE_DIR "/tests/interop/client.js' '" + server.socket() + "' " + command + " stem q";
    for (const std::string& argument : arguments) line += " '" + argument + "'";
    FILE* pipe = ::popen(line.c_str(), "r");
    if (pipe == nullptr) {
      ADD_FAILURE() << "no pipe to node";
      return nullptr;
    }
    std::string out;
    char bytes[4096];
    for (std::size_t n; (n = ::fread(bytes, 1, sizeof bytes, pipe)) > 0;) out.append(bytes, n);
    const int status = ::pclose(pipe);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return json::parse(out, nullptr, false);
    ADD_FAILURE() << command << " has failed. Are Node and ioredis there? tools/setup brings them";
    return nullptr;
  }
  static std::vector<std::string> as_arguments(const json& texts) { return texts.get<std::vector<std::string>>(); }
  // In one number: what is left of the queue in Redis, wherever.
  bool nothing_left() {
    return wait_until([&] { return node("left") == json({{"entries", 0}, {"delayed", 0}, {"dead", 0}}); }, kLong);
  }
  static std::shared_ptr<const federation::Signer> signer() {
    federation::SigningSettings settings;
    settings.keys = std::string("k1:") + kSecret;
    settings.active_key = "k1";
    return *federation::Signer::create(settings);
  }

  RedisServer server;
  RunLedger ledger{1000};
};

TEST_F(NodeInterop, WhatNodeEnqueuesInAllLanesRunsHereAndNodeReadsTheResults) {
  const json ids = node("enqueue", {"0", "30"});
  ASSERT_EQ(ids.size(), 30u);
  Host host(server.url(), ledger);
  host.start_worker();
  host.start_gateway();
  const json results = node("results", as_arguments(ids));
  ASSERT_EQ(results.size(), 30u);
  for (std::size_t n = 0; n < results.size(); ++n) {
    EXPECT_EQ(results[n]["id"], ids[n]);
    EXPECT_EQ(results[n]["state"], "succeeded");
    EXPECT_EQ(results[n]["payload"]["ran"], json({{"n", n}, {"text", "Zürich 😀 \"\n"}, {"big", 9007199254740991}}));
    EXPECT_EQ(ledger.runs(n), 1u);
  }
  EXPECT_TRUE(nothing_left());
}

TEST_F(NodeInterop, WhatWeExportNodeRunsAndOurProducerGetsTheResults) {
  Host host(server.url(), ledger);
  host.start_gateway();
  std::vector<engine::TaskId> ids;
  for (std::uint64_t n = 0; n < 30; ++n) ids.push_back(host.enqueue(n, /*keep_result=*/true));
  const json taken = node("consume", {"30"});
  ASSERT_EQ(taken.size(), 30u);
  const std::set<std::string> fields{"id",        "name",     "args",    "headers",    "enqueuedAt",
                                     "notBefore", "priority", "attempt", "maxRetries", "visibilityTimeout",
                                     "queue",     "meta"};
  std::set<int> numbers;
  for (const json& task : taken) {
    EXPECT_EQ(task["names"].get<std::set<std::string>>(), fields);
    EXPECT_EQ(task["name"], "count");
    EXPECT_EQ(task["queue"], "q");
    const int n = task["args"]["n"];
    numbers.insert(n);
    EXPECT_EQ(task["priority"], n % 10);
    EXPECT_EQ(task["key"], n % 10 == 0 ? "stem:stream:q" : "stem:stream:q:p" + std::to_string(n % 10));
    EXPECT_EQ(task["attempt"], 0);
    EXPECT_TRUE(task["enqueuedAt"].get<std::string>().ends_with("Z")) << task["enqueuedAt"];
  }
  EXPECT_EQ(numbers.size(), 30u);
  for (std::size_t n = 0; n < ids.size(); ++n) {
    std::vector<std::byte> bytes;
    engine::FailureRecord failure{};
    ASSERT_TRUE(wait_until(
        [&] { return engine::read_result(*host.engine(), ids[n], bytes, failure) == engine::ResultState::kSucceeded; },
        kLong))
        << n;
    const json result = json::from_msgpack(reinterpret_cast<const char*>(bytes.data()),
                                           reinterpret_cast<const char*>(bytes.data()) + bytes.size());
    EXPECT_EQ(result, json({{"doubled", 2 * n}}));
  }
  EXPECT_TRUE(nothing_left());
}

TEST_F(NodeInterop, NodeListsOurDeadLettersAndReplaysOne) {
  (void)node("enqueue", {"4", "7"});
  Host breaks(server.url(), ledger);
  breaks.start_worker(Conduct::kFailForGood);
  breaks.start_gateway();
  json letters;
  ASSERT_TRUE(wait_until([&] { return (letters = node("dead")).size() == 3; }, kLong)) << letters;
  breaks.kill_gateway();
  breaks.kill_workers();
  for (const json& letter : letters) {
    EXPECT_EQ(letter["reason"], "permanent-failure");
    EXPECT_EQ(letter["meta"]["error"]["type"], "broken");
    EXPECT_TRUE(letter["deadAt"].get<std::string>().ends_with("Z"));
    EXPECT_EQ(letter["envelope"]["name"], "count");
    EXPECT_TRUE(letter["envelope"]["args"].is_object());
  }
  const json replayed = node("replay", {"node-5"});
  EXPECT_EQ(replayed["args"]["n"], 5);
  Host mends(server.url(), ledger);
  mends.start_worker();
  mends.start_gateway();
  EXPECT_TRUE(wait_until([&] { return ledger.runs(5) == 2; }, kLong));
  EXPECT_TRUE(wait_until([&] { return node("results", {"node-5"})[0]["state"] == "succeeded"; }, kLong));
  EXPECT_EQ(node("dead").size(), 2u);
  EXPECT_EQ(ledger.runs(4), 1u);
  EXPECT_EQ(ledger.runs(6), 1u);
}

TEST_F(NodeInterop, WhatNodeDelaysRunsWhenItIsDue) {
  Host host(server.url(), ledger);
  host.start_worker();
  host.start_gateway();
  const json soon = node("delay", {"0", "10", "300"});
  const json past = node("delay", {"10", "15", "-5000"});
  const json far = node("delay", {"20", "21", "3600000"});
  for (const json* ids : {&soon, &past})
    for (const json& result : node("results", as_arguments(*ids))) EXPECT_EQ(result["state"], "succeeded");
  for (std::uint64_t n = 0; n < 15; ++n) EXPECT_EQ(ledger.runs(n), 1u) << n;
  EXPECT_EQ(ledger.runs(20), 0u);
  EXPECT_EQ(node("left"), json({{"entries", 0}, {"delayed", 1}, {"dead", 0}}));
}

// Both sides sign by the description alone.
TEST_F(NodeInterop, SignaturesOfOneSideAreRightOnTheOther) {
  {
    Host exports(server.url(), ledger);
    exports.gateway_options().signer = signer();
    exports.start_gateway();
    for (std::uint64_t n = 100; n < 110; ++n) (void)exports.enqueue(n, true);
    const json taken = node("consume", {"10", kSecret});
    ASSERT_EQ(taken.size(), 10u);
    for (const json& task : taken) EXPECT_EQ(task["signed"], true) << task;
  }
  const json ids = node("enqueue", {"0", "10", "k1", kSecret}),
             late = node("delay", {"10", "20", "100", "k1", kSecret});
  (void)node("enqueue", {"20", "21"});
  (void)node("enqueue", {"21", "22", "k1", "c29tZWJvZHkgZWxzZSdzIHNlY3JldCwgbm90IG91cnM="});
  Host host(server.url(), ledger);
  host.gateway_options().signer = signer();
  host.start_worker();
  host.start_gateway();
  for (const json* some : {&ids, &late})
    for (const json& result : node("results", as_arguments(*some))) EXPECT_EQ(result["state"], "succeeded") << result;
  json letters;
  ASSERT_TRUE(wait_until([&] { return (letters = node("dead")).size() == 2; }, kLong)) << letters;
  for (const json& letter : letters) EXPECT_EQ(letter["reason"], "signature-invalid");
  EXPECT_EQ(ledger.runs(20) + ledger.runs(21), 0u);
}

}  // namespace
}  // namespace stem::test
