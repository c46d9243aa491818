// Revokes across hosts, as `stem task revoke` gives them, with gateways that are killed in between.
#include <chrono>
#include <random>

#include "engine/control.hpp"
#include "engine/outbox.hpp"
#include "engine/query.hpp"
#include "federation/revokes.hpp"
#include "federation/transcript.hpp"
#include "tests/cluster/cluster_test.hpp"

namespace stem::test {
namespace {

using engine::ResultState;
using nlohmann::json;
using shm::Counter;
using shm::State;

class RevokeTest : public ClusterTest {
 protected:
  ResultState result_of(Host& host, engine::TaskId id) {
    std::vector<std::byte> bytes;
    engine::FailureRecord failure;
    return engine::read_result(*host.engine(), id, bytes, failure);
  }
  std::string revoke(Host& host, const std::string& id, std::vector<std::string> more = {}, int exit_code = 0) {
    std::vector<std::string> args{"task", "revoke", id};
    args.insert(args.end(), more.begin(), more.end());
    const json rows = json_on(host, args, exit_code);
    return rows.empty() ? "" : rows[0]["outcome"].get<std::string>();
  }
  std::vector<std::string> with_redis() const { return {"--redis", server.url(), "--redis-namespace", "stem"}; }
  std::int64_t revokes() { return ask({"HLEN", keys.revokes()}).integer; }
  std::int64_t entries() {
    std::int64_t n = 0;
    for (int lane = 0; lane < federation::kLanes; ++lane) n += ask({"XLEN", keys.stream("q", lane)}).integer;
    return n;
  }
  bool left(Host& host) { return slots_in(host.segment(), State::kOutbox) == 1 && entries() == 1; }
};

TEST_F(RevokeTest, WhatIsStillInAStreamIsCancelledWhenItIsImported) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  a.start_gateway();
  const engine::TaskId id = a.enqueue(1, /*keep_result=*/true);
  ASSERT_TRUE(wait_until([&] { return left(a); }, kLong));
  EXPECT_EQ(revoke(a, to_string(id)), "exported");
  ASSERT_TRUE(wait_until([&] { return revokes() == 1; }, kLong));
  b.start_worker();
  b.start_gateway();
  ASSERT_TRUE(wait_until([&] { return result_of(a, id) == ResultState::kCancelled; }, kLong));
  EXPECT_TRUE(wait_until([&] { return revokes() == 0 && entries() == 0; }, kLong));
  EXPECT_EQ(ran(), 0u);
  EXPECT_EQ(b.counter(Counter::kImported), 0u) << "it never was a task there";
  EXPECT_EQ(broken_invariants(*a.engine()), "");
}

TEST_F(RevokeTest, WhatWaitsOnAnotherHostIsCancelledThere) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  a.start_gateway();
  b.start_worker(Conduct::kHang);
  b.start_gateway();
  (void)a.enqueue(1);
  ASSERT_TRUE(wait_until([&] { return ran() == 1; }, kLong));
  const engine::TaskId id = a.enqueue(2, /*keep_result=*/true);
  ASSERT_TRUE(wait_until([&] { return b.counter(Counter::kImported) == 2; }, kLong));
  EXPECT_EQ(revoke(a, to_string(id)), "exported");
  ASSERT_TRUE(wait_until([&] { return result_of(a, id) == ResultState::kCancelled; }, kLong));
  EXPECT_TRUE(wait_until([&] { return revokes() == 0; }, kLong));
  EXPECT_EQ(ledger.runs(2), 0u);
  EXPECT_EQ(revoke(a, to_string(id), {}, 70), "over");
}

TEST_F(RevokeTest, WhatRunsEndsOnlyWhenItIsTerminated) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  a.start_gateway();
  b.start_worker(Conduct::kUntilRevoked);
  b.start_gateway();
  const engine::TaskId id = a.enqueue(1, /*keep_result=*/true);
  ASSERT_TRUE(wait_until([&] { return ran() == 1; }, kLong));
  EXPECT_EQ(revoke(a, to_string(id)), "exported");
  ASSERT_TRUE(wait_until([&] { return revokes() == 1; }, kLong));
  EXPECT_EQ(result_of(a, id), ResultState::kPending);
  EXPECT_EQ(revoke(a, to_string(id), {"--terminate"}), "exported");
  ASSERT_TRUE(wait_until([&] { return result_of(a, id) == ResultState::kCancelled; }, kLong));
  EXPECT_TRUE(wait_until([&] { return revokes() == 0 && entries() == 0; }, kLong));
}

// Nobody here waits for it, so nothing of it is here any more.
TEST_F(RevokeTest, WhatWasLetGoIsRevokedByItsNameFromAnyHost) {
  Host a(server.url(), ledger), b(server.url(), ledger), c(server.url(), ledger);
  a.start_gateway();
  const engine::TaskId mine = a.enqueue(1), other = a.enqueue(2);
  const std::vector<engine::TaskId> run = a.enqueue_many(3, 13);
  ASSERT_TRUE(wait_until([&] { return a.counter(Counter::kExported) == 12; }, kLong));
  EXPECT_EQ(revoke(a, to_string(mine), {}, 70), "over") << "without Redis nobody can tell";
  EXPECT_EQ(revoke(a, to_string(mine), with_redis()), "sent");
  EXPECT_EQ(revoke(a, to_string(run[4]), with_redis()), "sent") << "the item of a run travels under another name";
  const std::string name = federation::wire_id(federation::Transcript(a.segment()).host(), other);
  EXPECT_EQ(revoke(c, name, with_redis()), "sent");
  b.start_worker();
  b.start_gateway();
  ASSERT_TRUE(wait_until([&] { return entries() == 0; }, kLong));
  EXPECT_TRUE(wait_until([&] { return revokes() == 0; }, kLong));
  EXPECT_EQ(ran(), 9u);
  EXPECT_EQ(ledger.runs(1) + ledger.runs(2) + ledger.runs(7), 0u);
  EXPECT_EQ(revoke(c, name, with_redis(), 70), "over");
  const auto task = [&](const std::string& verb, const std::string& id) {
    return std::vector<std::string>{"task", verb, id, "--redis", server.url(), "--redis-namespace", "stem"};
  };
  EXPECT_EQ(json_on(c, task("show", name))[0]["state"], "cancelled");
  EXPECT_EQ(json_on(a, task("show", to_string(mine)))[0]["state"], "cancelled") << "by the name that its maker knows";
  EXPECT_EQ(json_on(c, task("wait", name), 70)[0]["error"]["type"], "revoked");
  EXPECT_EQ(stem_on(c, task("show", "nobody")).exit_code, 1);
  EXPECT_EQ(revokes(), 0);
}

TEST_F(RevokeTest, AWishOutlivesTheGateway) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  a.start_gateway();
  const engine::TaskId id = a.enqueue(1, /*keep_result=*/true);
  ASSERT_TRUE(wait_until([&] { return left(a); }, kLong));
  a.gateway().stop();
  EXPECT_EQ(revoke(a, to_string(id)), "exported");
  a.kill_gateway();  // it never knew
  EXPECT_EQ(revokes(), 0);
  a.sweep();
  EXPECT_EQ(revoke(a, to_string(id), {"--terminate"}), "exported") << "nobody has it now, and the wish may grow";
  a.start_gateway();
  ASSERT_TRUE(wait_until([&] { return revokes() == 1; }, kLong));
  b.start_worker();
  b.start_gateway();
  ASSERT_TRUE(wait_until([&] { return result_of(a, id) == ResultState::kCancelled; }, kLong));
  EXPECT_EQ(ran(), 0u);
}

// What Redis has never seen ends on its own host.
TEST_F(RevokeTest, WhatHasNotLeftYetIsCancelledHere) {
  Host a(server.url(), ledger);
  engine::TaskId id;
  {
    Attached before(must_attach("test", a.gateway_options().directory), shm::Role::kGateway);
    engine::Outbox outbox(*before);
    id = a.enqueue(1, /*keep_result=*/true);
    engine::Parcel parcel;
    std::vector<engine::Lease> imported;
    ASSERT_EQ(outbox.take(a.queue(), &parcel, 1, imported, base::monotonic_ns()), 1u);
    EXPECT_EQ(revoke(a, to_string(id)), "exported");
    std::vector<engine::TaskId> wishes;
    outbox.take_wishes(wishes);
    ASSERT_EQ(wishes.size(), 1u);
    EXPECT_EQ(wishes[0], id);
    EXPECT_EQ(outbox.wish(parcel), engine::Outbox::Wish::kCancel);
    EXPECT_TRUE(outbox.give_back(parcel, base::monotonic_ns()));
  }
  EXPECT_EQ(result_of(a, id), ResultState::kCancelled);
  EXPECT_EQ(a.counter(Counter::kCancelled), 1u);
  EXPECT_EQ(a.counter(Counter::kExported), 0u);
  EXPECT_EQ(broken_invariants(*a.engine()), "");
}

// Both gateways, at any time: each task ran and its result is home, or it did not and that is known.
TEST_F(RevokeTest, GatewaysKilledAtAnyTimeLoseNoRevoke) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  b.start_worker();
  a.start_gateway();
  b.start_gateway();
  std::mt19937 random(7);
  std::vector<engine::TaskId> ids;
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 10; ++i) ids.push_back(a.enqueue(ids.size(), /*keep_result=*/true));
    engine::Control control(*a.engine());
    for (std::size_t i = ids.size() - 10; i < ids.size(); i += 2)
      (void)control.revoke(ids[i], /*terminate=*/false, base::monotonic_ns());
    Host& victim = random() % 2 == 0 ? a : b;
    const auto until = base::monotonic_ns() + static_cast<std::int64_t>(random() % 40) * 1'000'000;
    (void)wait_until([&] { return base::monotonic_ns() >= until; });
    victim.kill_gateway();
    victim.start_gateway();
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ASSERT_TRUE(wait_until([&] { return result_of(a, ids[i]) != ResultState::kPending; }, kLong)) << i;
    const ResultState state = result_of(a, ids[i]);
    if (state == ResultState::kCancelled)
      EXPECT_TRUE(i % 2 == 0 && ledger.runs(i) == 0) << i << " ran " << ledger.runs(i);
    else
      EXPECT_TRUE(state == ResultState::kSucceeded && ledger.runs(i) == 1) << i << " ran " << ledger.runs(i);
  }
  EXPECT_TRUE(wait_until([&] { return entries() == 0; }, kLong));
  EXPECT_EQ(broken_invariants(*a.engine()), "");
  EXPECT_EQ(broken_invariants(*b.engine()), "");
}

TEST_F(RevokeTest, TheHashDoesNotGrowForEver) {
  const auto put = [&](const std::string& id, const std::string& text) {
    (void)ask({"HSET", keys.revokes(), id, text});
  };
  put("expired",
      R"({"taskId":"expired","version":1,"issuedAt":"2026-01-01T00:00:00Z","expiresAt":"2026-01-02T00:00:00Z"})");
  put("old", R"({"taskId":"old","version":1,"issuedAt":"2020-01-01T00:00:00Z","expiresAt":null})");
  put("nonsense", "nonsense");
  put("over", R"({"taskId":"over","version":1,"issuedAt":"2026-01-01T00:00:00Z","expiresAt":"2999-01-01T00:00:00Z"})");
  (void)ask({"SET", keys.result("q", "over"), "{}"});
  put("waits",
      R"({"taskId":"waits","version":1,"issuedAt":"2026-01-01T00:00:00Z","expiresAt":"2999-01-01T00:00:00Z"})");
  put("__stem.queue.pause__:q", R"({"taskId":"__stem.queue.pause__:q","version":1,"issuedAt":"2020-01-01T00:00:00Z"})");
  Host a(server.url(), ledger);
  a.start_gateway();
  EXPECT_TRUE(wait_until([&] { return revokes() == 2; }, kLong)) << revokes();
  EXPECT_EQ(ask({"HEXISTS", keys.revokes(), "waits"}).integer, 1);
  EXPECT_EQ(ask({"HEXISTS", keys.revokes(), "__stem.queue.pause__:q"}).integer, 1);
}

TEST_F(RevokeTest, TheHighestVersionStandsAndAWishToTerminateStays) {
  federation::Revoke revoke;
  revoke.task_id = "t";
  const auto put = [&](std::int64_t version, bool terminate) {
    revoke.version = version;
    revoke.terminate = terminate;
    const std::string number = std::to_string(version), text = to_json(revoke);
    return ask({"EVAL", federation::kRevokeScript, "1", keys.revokes(), "t", number, text, terminate ? "1" : "0"})
        .integer;
  };
  const auto stands = [&] { return *federation::revoke_of_json(ask({"HGET", keys.revokes(), "t"}).text); };
  EXPECT_EQ(put(5, false), 1);
  EXPECT_EQ(put(4, true), 0) << "older";
  EXPECT_FALSE(stands().terminate);
  EXPECT_EQ(put(6, true), 1);
  EXPECT_EQ(put(7, false), 0);
  EXPECT_TRUE(stands().terminate);
  (void)ask({"HSET", keys.revokes(), "t", "nonsense"});
  EXPECT_EQ(put(1, false), 1);
  EXPECT_EQ(stands().version, 1);
}

}  // namespace
}  // namespace stem::test
