// Signatures between hosts: real gateways, real workers, a real Redis, and somebody else who may write to it.
#include <gtest/gtest.h>

#include <chrono>

#include "engine/query.hpp"
#include "federation/keys.hpp"
#include "federation/records.hpp"
#include "federation/signing.hpp"
#include "tests/federation/connected.hpp"
#include "tests/federation/fixtures.hpp"
#include "tests/federation/hosts.hpp"
#include "tests/support/redis_server.hpp"
#include "tests/support/wait.hpp"

namespace stem::test {
namespace {

using federation::Envelope;
using federation::Signer;

constexpr std::string_view kOther = "c29tZWJvZHkgZWxzZSdzIHNlY3JldCwgbm90IG91cnM=";

std::shared_ptr<const Signer> keys_of(std::string_view k1, std::string_view active = "k1", std::string_view more = "") {
  federation::SigningSettings settings;
  settings.keys = "k1:" + std::string(k1) + std::string(more);
  settings.active_key = active;
  return *Signer::create(settings);
}

class SignedHosts : public ::testing::Test {
 protected:
  OwnedReply ask(std::vector<std::string_view> argv) {
    Connected client(Connected::quick(server.url()));
    client->start();
    EXPECT_TRUE(client.wait_ready());
    return client.ask(std::move(argv));
  }
  void add(const Envelope& e) {
    const federation::StreamFields fields(e.view());
    const std::string stream = keys.stream("q", static_cast<int>(e.priority));
    std::vector<std::string_view> argv{"XADD", stream, "*"};
    fields.append_to(argv);
    EXPECT_FALSE(ask(argv).text.empty());
  }
  void delay(const Envelope& e) {
    std::string member;
    federation::append_json(member, e.view());
    EXPECT_EQ(ask({"ZADD", keys.delayed("q"), "1000", member}).integer, 1);
  }
  static Envelope numbered(int n) {
    Envelope e;
    e.id = "t-" + std::to_string(n);
    e.name = "count";
    e.queue = "q";
    e.args = "{\"n\":" + std::to_string(n) + "}";
    e.enqueued_at_us = 1'700'000'000'000'000;
    return e;
  }
  bool ran_all(std::initializer_list<int> numbers) {
    return wait_until(
        [&] { return std::all_of(numbers.begin(), numbers.end(), [&](int n) { return ledger.runs(n) > 0; }); }, kLong);
  }
  std::vector<federation::DeadLetter> letters(std::size_t wanted) {
    EXPECT_TRUE(wait_until([&] { return ask({"LLEN", keys.dead("q")}).integer >= std::int64_t(wanted); }, kLong));
    std::vector<federation::DeadLetter> read;
    for (const OwnedReply& one : ask({"LRANGE", keys.dead("q"), "0", "-1"}).elements) {
      read.emplace_back();
      EXPECT_TRUE(decode_json(one.text, read.back()).ok()) << one.text;
    }
    EXPECT_EQ(read.size(), wanted);
    return read;
  }
  std::string state_of(const std::string& id) {
    federation::TaskStatus status;
    (void)decode_json(ask({"GET", keys.result("q", id)}).text, status);
    return status.state;
  }

  RedisServer server;
  RunLedger ledger{1000};
  federation::Keys keys{"stem"};
  std::shared_ptr<const Signer> ours = keys_of(kSecret);
};

TEST_F(SignedHosts, ShareTheirTasksAndTheirResults) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  for (Host* host : {&a, &b}) host->gateway_options().signer = ours;
  a.start_gateway();
  b.start_worker();
  b.start_gateway();
  for (int n = 0; n < 50; ++n) (void)a.enqueue(static_cast<std::uint64_t>(n), /*keep_result=*/n == 49);
  EXPECT_TRUE(wait_until([&] { return ledger.missing() == 950; }, kLong)) << ledger.missing();
  EXPECT_TRUE(wait_until([&] { return slots_in(a.segment(), shm::State::kDone) == 1; }, kLong)) << "it came home";
  EXPECT_EQ(ledger.extra(), 0u);
  EXPECT_EQ(ask({"LLEN", keys.dead("q")}).integer, 0);
}

TEST_F(SignedHosts, RefuseWhatIsNotSigned) {
  Host b(server.url(), ledger);
  b.gateway_options().signer = ours;
  Envelope good = numbered(1), plain = numbered(2), strange = numbered(3), changed = numbered(4), moved = numbered(5);
  ASSERT_TRUE(ours->sign(good).ok());
  ASSERT_TRUE(keys_of(kOther)->sign(strange).ok());
  ASSERT_TRUE(ours->sign(changed).ok());
  changed.args = "{\"n\":6}";
  moved.queue = "another";
  ASSERT_TRUE(ours->sign(moved).ok());  // rightly, but put into this queue
  for (const Envelope* e : {&plain, &strange, &changed, &moved, &good}) add(*e);
  b.start_worker();
  b.start_gateway();
  ASSERT_TRUE(ran_all({1}));
  for (const auto& letter : letters(4)) {
    EXPECT_EQ(letter.reason, "signature-invalid");
    EXPECT_TRUE(wait_until([&] { return state_of(letter.envelope.id) == "failed"; }, kLong)) << letter.envelope.id;
  }
  EXPECT_TRUE(wait_until([&] { return ask({"XLEN", keys.stream("q", 0)}).integer == 0; }, kLong));
  for (const int n : {2, 3, 4, 5, 6}) EXPECT_EQ(ledger.runs(static_cast<std::uint64_t>(n)), 0u) << n;
  EXPECT_EQ(b.counter(shm::Counter::kSignatureInvalid), 4u);
}

TEST_F(SignedHosts, DelayedTasksAreVerifiedAndStayAsTheyWereSigned) {
  Host b(server.url(), ledger);
  b.gateway_options().signer = ours;
  Envelope good = numbered(1), plain = numbered(2), changed = numbered(3);
  for (Envelope* e : {&good, &plain, &changed}) e->not_before_us = 1'700'000'100'000'000;
  ASSERT_TRUE(ours->sign(good).ok());
  ASSERT_TRUE(ours->sign(changed).ok());
  changed.not_before_us = 1'600'000'000'000'000;  // sooner than its signer wanted
  for (const Envelope* e : {&good, &plain, &changed}) delay(*e);
  b.start_worker();
  b.start_gateway();
  ASSERT_TRUE(ran_all({1}));
  const auto refused = letters(2);
  EXPECT_EQ(refused[0].reason, "signature-invalid");
  EXPECT_EQ(refused[1].reason, "signature-invalid");
  EXPECT_EQ(ask({"ZCARD", keys.delayed("q")}).integer, 0);
  EXPECT_EQ(b.counter(shm::Counter::kSignatureInvalid), 2u);
  EXPECT_EQ(state_of("t-2"), "failed");
  EXPECT_EQ(ledger.runs(2) + ledger.runs(3), 0u);
}

// A host without keys promotes what others have signed, and does not break it.
TEST_F(SignedHosts, AGatewayWithoutKeysLetsSignaturesPass) {
  Envelope delayed = numbered(1);
  delayed.not_before_us = 1'700'000'100'000'000;
  ASSERT_TRUE(ours->sign(delayed).ok());
  delay(delayed);
  {
    Host passes(server.url(), ledger);  // nobody works there, so it only promotes
    passes.start_gateway();
    ASSERT_TRUE(wait_until([&] { return ask({"XLEN", keys.stream("q", 0)}).integer == 1; }, kLong));
  }
  Host b(server.url(), ledger);
  b.gateway_options().signer = ours;
  b.start_worker();
  b.start_gateway();
  EXPECT_TRUE(ran_all({1}));
  EXPECT_EQ(ask({"LLEN", keys.dead("q")}).integer, 0);
}

TEST_F(SignedHosts, WithoutKeysSignaturesSayNothing) {
  Host b(server.url(), ledger);
  Envelope plain = numbered(1), strange = numbered(2);
  ASSERT_TRUE(keys_of(kOther)->sign(strange).ok());
  add(plain);
  add(strange);
  b.start_worker();
  b.start_gateway();
  EXPECT_TRUE(ran_all({1, 2}));
  EXPECT_EQ(ask({"LLEN", keys.dead("q")}).integer, 0);
}

// A host whose workers are gone gives its tasks back to their lane: as they were signed.
TEST_F(SignedHosts, AReturnedTaskIsStillSigned) {
  Host a(server.url(), ledger), b(server.url(), ledger), c(server.url(), ledger);
  for (Host* host : {&a, &b, &c}) host->gateway_options().signer = ours;
  b.start_worker(Conduct::kHang);
  b.start_gateway();
  ASSERT_TRUE(wait_until([&] { return ask({"EXISTS", keys.stream("q", 0)}).integer == 1; }, kLong));
  a.start_gateway();
  a.enqueue_many(0, 8);
  ASSERT_TRUE(wait_until([&] { return slots_in(b.segment(), shm::State::kReady) >= 4; }, kLong));
  b.kill_workers();
  b.sweep();
  c.start_worker();
  c.start_gateway();
  EXPECT_TRUE(wait_until([&] { return ledger.missing() == 992; }, kLong)) << ledger.missing();
  EXPECT_EQ(ask({"LLEN", keys.dead("q")}).integer, 0);
}

// So it can be run again, by anybody, with the signature that it has.
TEST_F(SignedHosts, ADeadLetterKeepsWhatWasSigned) {
  Envelope e = numbered(1);
  ASSERT_TRUE(ours->sign(e).ok());
  add(e);
  Host b(server.url(), ledger);
  b.gateway_options().signer = ours;
  b.start_worker(Conduct::kFailForGood);
  b.start_gateway();
  const auto letter = letters(1).at(0);
  EXPECT_EQ(letter.reason, "permanent-failure");
  EXPECT_TRUE(ours->verify(letter.envelope.view()).ok());
  EXPECT_NE(letter.meta.find("\"attempt\":1"), std::string::npos) << letter.meta;
}

// Every host knows the new key before any signs with it; nothing on its way is refused at any step.
TEST_F(SignedHosts, ChangeTheirKeysWithoutALoss) {
  const auto both_old = keys_of(kSecret, "k1", ",k2:" + std::string(kOther));
  const auto both_new = keys_of(kSecret, "k2", ",k2:" + std::string(kOther));
  Host a(server.url(), ledger), b(server.url(), ledger);
  b.start_worker();
  std::uint64_t n = 0;
  for (const auto& [exporter, importer] : {std::pair(ours, both_old), {both_old, both_new}, {both_new, both_new}}) {
    a.gateway_options().signer = exporter;
    b.gateway_options().signer = importer;
    a.start_gateway();
    b.start_gateway();
    a.enqueue_many(n, n + 20);
    n += 20;
    ASSERT_TRUE(wait_until([&] { return ledger.missing() == 1000 - n; }, kLong)) << ledger.missing();
    a.kill_gateway();
    b.kill_gateway();
    a.sweep();
    b.sweep();
  }
  EXPECT_EQ(ask({"LLEN", keys.dead("q")}).integer, 0);
}

// What Stem's Dart side has signed, as fixtures have it: in a stream and in the delayed set.
TEST_F(SignedHosts, RunWhatTheOtherSideHasSigned) {
  const auto fields = parse_stream_fixture(fixture_text("signed_hmac.txt"));
  const std::string stream = keys.stream("q", 7), member = fixture_text("signed_delayed.json");
  std::vector<std::string_view> argv{"XADD", stream, "*"};
  for (const auto& [name, text] : fields) argv.insert(argv.end(), {name, text});
  EXPECT_FALSE(ask(argv).text.empty());
  EXPECT_EQ(ask({"ZADD", keys.delayed("q"), "1000", member}).integer, 1);
  Host b(server.url(), ledger);
  b.gateway_options().signer = ours;
  b.start_worker();
  b.start_gateway();
  EXPECT_TRUE(wait_until([&] { return state_of("dart-1763800000000-12345") == "succeeded"; }, kLong));
  EXPECT_TRUE(wait_until([&] { return state_of("dart-delayed") == "succeeded"; }, kLong));
  EXPECT_EQ(ask({"LLEN", keys.dead("q")}).integer, 0);
}

}  // namespace
}  // namespace stem::test
