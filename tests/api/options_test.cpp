// Every task option and every call option has its effect, under a clock that only the test moves.
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "stem/testing.hpp"

namespace stem::api_tests {
namespace {

using testing::CrashAt;
using testing::Simulation;

constexpr Task<int(int)> twice{"twice"};

TEST(Options, ADelayedTaskRunsAtItsTimeAndNotBefore) {
  Simulation sim;
  std::vector<Duration> ran;
  sim.on(twice, [&](Context&, int n) { return ran.push_back(sim.now()), 2 * n; });
  auto handle = sim.client().enqueue(twice, 21, {.delay = 5s});
  ASSERT_TRUE(handle.ok()) << handle.error().message;
  EXPECT_EQ(*handle->state(), TaskState::kDelayed);
  sim.advance(4999ms);
  EXPECT_TRUE(ran.empty());
  sim.advance(2ms);
  ASSERT_EQ(ran.size(), 1u);
  EXPECT_GE(ran[0], 5s);
  EXPECT_LT(ran[0], 5s + 1ms);
  EXPECT_EQ(*handle->get(1s), 42);
  EXPECT_EQ(sim.broken_invariants(), "");
}

TEST(Options, AnEtaIsAWallClockTime) {
  Simulation sim;
  std::vector<Duration> ran;
  sim.on(twice, [&](Context&, int n) { return ran.push_back(sim.now()), n; });
  ASSERT_TRUE(sim.client().enqueue(twice, 1, {.eta = std::chrono::system_clock::now() + 60s}).ok());
  ASSERT_TRUE(sim.client().enqueue(twice, 2, {.eta = std::chrono::system_clock::now() - 60s}).ok());
  sim.drain();
  EXPECT_EQ(ran.size(), 1u);  // the past is now
  sim.advance(61s);
  ASSERT_EQ(ran.size(), 2u);
  EXPECT_GT(ran[1], 59s);
}

TEST(Options, WhatExpiresIsCancelledNotRun) {
  Simulation sim;
  int ran = 0;
  constexpr Task<int(int)> soon{"soon", {.expires = 10s}};
  sim.on(soon, [&](Context&, int n) { return ++ran, n; });
  auto late = sim.client().enqueue(soon, 1, {.delay = 20s});
  auto longer = sim.client().enqueue(soon, 1, {.delay = 20s, .expires = 30s});
  sim.advance(25s);
  EXPECT_EQ(ran, 1);
  EXPECT_EQ(*late->state(), TaskState::kCancelled);
  EXPECT_NE(late->get(0s).error().message.find("expired"), std::string::npos);
  EXPECT_TRUE(longer->get(0s).ok());
}

TEST(Options, LargerPrioritiesGoFirst) {
  Simulation sim;
  std::vector<int> order;
  constexpr Task<void(int)> task{"p", {.priority = 3}};
  sim.on(task, [&](Context&, int n) { order.push_back(n); });
  for (const int p : {0, 9, 4}) ASSERT_TRUE(sim.client().enqueue(task, p, {.priority = p}).ok());
  ASSERT_TRUE(sim.client().enqueue(task, 3).ok());
  ASSERT_TRUE(sim.client().enqueue(task, 100, {.priority = 100}).ok());  // clamped to 9
  sim.drain();
  EXPECT_EQ(order, (std::vector<int>{9, 100, 4, 3, 0}));
}

TEST(Options, QueueOfTheTaskAndOfTheCall) {
  Simulation sim;
  std::vector<std::string> queues;
  constexpr Task<void(int)> task{"q", {.queue = "images"}};
  sim.on(task, [&](Context& c, int) { queues.emplace_back(c.queue()); });
  ASSERT_TRUE(sim.client().enqueue(task, 1).ok());
  ASSERT_TRUE(sim.client().enqueue(task, 1, {.queue = "other"}).ok());
  sim.drain();
  EXPECT_EQ(queues, (std::vector<std::string>{"images", "other"}));
}

TEST(Options, RetriesByPolicyThenDead) {
  Simulation sim;
  std::vector<Duration> ran;
  constexpr Task<int(int)> flaky{"flaky", {.max_retries = 2, .retry = {.kind = RetryKind::kConstant, .base = 7s}}};
  sim.on(flaky, [&](Context& c, int) -> int {
    EXPECT_EQ(c.attempt(), ran.size());
    EXPECT_EQ(c.max_retries(), 2u);
    ran.push_back(sim.now());
    throw std::runtime_error("disk on fire");
  });
  auto handle = sim.client().enqueue(flaky, 1);
  sim.drain();
  EXPECT_EQ(*handle->state(), TaskState::kRetried);
  sim.advance(30s);
  ASSERT_EQ(ran.size(), 3u);
  EXPECT_GE(ran[1], 7s);
  EXPECT_LT(ran[1], 7s + 1ms);
  EXPECT_GE(ran[2], 14s);
  EXPECT_EQ(*handle->state(), TaskState::kDead);
  const auto error = handle->get(0s);
  ASSERT_FALSE(error.ok());
  EXPECT_EQ(error.error().code, Errc::kRefused);
  EXPECT_NE(error.error().message.find("disk on fire"), std::string::npos) << error.error().message;
}

TEST(Options, CallsMayChangeTheRetries) {
  Simulation sim;
  int ran = 0;
  constexpr Task<void(int)> flaky{"flaky", {.max_retries = 5, .retry = {.kind = RetryKind::kConstant, .base = 1s}}};
  sim.on(flaky, [&](Context&, int) { ++ran, throw std::runtime_error("no"); });
  ASSERT_TRUE(sim.client().enqueue(flaky, 1, {.max_retries = 0}).ok());
  sim.advance(60s);
  EXPECT_EQ(ran, 1);
}

TEST(Options, ExponentialIsTheDefaultWithJitterBelow) {
  Simulation sim;
  std::vector<Duration> ran;
  sim.on(twice, [&](Context&, int) -> int {
    ran.push_back(sim.now());
    throw std::runtime_error("no");
  });
  ASSERT_TRUE(sim.client().enqueue(twice, 1).ok());
  sim.advance(60s);
  ASSERT_EQ(ran.size(), 4u);  // three retries
  for (int i = 0; i < 3; ++i) {
    const Duration c = 2s * (1 << i), gap = ran[static_cast<std::size_t>(i) + 1] - ran[static_cast<std::size_t>(i)];
    EXPECT_GE(gap, c * 3 / 4);
    EXPECT_LE(gap, c + 1ms);
  }
}

TEST(Options, OnlySomeErrorsAreRetried) {
  Simulation sim;
  int out_of_range = 0, others = 0;
  constexpr Task<void(bool)> task{
      "some", {.retry = {.kind = RetryKind::kConstant, .base = 1s}, .no_retry_for = "std::out_of_range"}};
  sim.on(task, [&](Context&, bool range) {
    if (range) {
      ++out_of_range;
      throw std::out_of_range("far");
    }
    ++others;
    throw std::runtime_error("near");
  });
  ASSERT_TRUE(sim.client().enqueue(task, true).ok());
  ASSERT_TRUE(sim.client().enqueue(task, false).ok());
  sim.advance(60s);
  EXPECT_EQ(out_of_range, 1);
  EXPECT_EQ(others, 4);
}

TEST(Options, AUserFunctionMayGiveTheDelay) {
  Simulation sim;
  std::vector<Duration> ran;
  constexpr Task<void(int)> task{"own", {.max_retries = 2, .retry = {.kind = RetryKind::kUser}}};
  sim.on(
      task,
      [&](Context&, int) {
        ran.push_back(sim.now());
        throw std::runtime_error("no");
      },
      [](std::uint32_t attempt, std::string_view kind) -> std::optional<Duration> {
        EXPECT_EQ(kind, "std::runtime_error");
        return attempt == 0 ? 11s : 22s;
      });
  auto handle = sim.client().enqueue(task, 1);
  sim.advance(60s);
  ASSERT_EQ(ran.size(), 3u);
  EXPECT_GE(ran[1], 11s);
  EXPECT_LT(ran[1], 11s + 1ms);
  EXPECT_GE(ran[2], 33s);
  EXPECT_EQ(*handle->state(), TaskState::kDead);
}

TEST(Options, OutcomesWithoutExceptions) {
  Simulation sim;
  std::vector<std::string> ran;
  constexpr Task<int(std::string)> task{"outcome"};
  sim.on(task, [&](Context& c, const std::string& what) -> Outcome<int> {
    ran.push_back(what);
    const auto times = std::count(ran.begin(), ran.end(), what);
    if (what == "snooze" && times < 6) {
      EXPECT_EQ(c.attempt(), 0u);
      return snooze(1s);
    }
    if (what == "retry" && times == 1) return retry(3s, "not yet");
    if (what == "discard") return discard("nobody wants it");
    if (what == "fail") return fail("never");
    return static_cast<int>(times);
  });
  auto snoozed = sim.client().enqueue(task, "snooze");
  auto retried = sim.client().enqueue(task, "retry");
  auto discarded = sim.client().enqueue(task, "discard");
  auto failed = sim.client().enqueue(task, "fail");
  sim.advance(20s);
  EXPECT_EQ(*snoozed->get(0s), 6);
  EXPECT_EQ(*retried->get(0s), 2);
  EXPECT_EQ(*discarded->state(), TaskState::kCancelled);
  EXPECT_NE(discarded->get(0s).error().message.find("nobody wants it"), std::string::npos);
  EXPECT_EQ(*failed->state(), TaskState::kDead);
  EXPECT_EQ(std::count(ran.begin(), ran.end(), "fail"), 1);
  EXPECT_EQ(sim.broken_invariants(), "");
}

TEST(Options, UniqueByArgumentsKeyAndTime) {
  Simulation sim;
  int ran = 0;
  constexpr Task<int(int)> once{"once", {.unique = true, .unique_for = 10s}};
  sim.on(once, [&](Context&, int n) { return ++ran, n; });
  Client& client = sim.client();
  auto first = client.enqueue(once, 1, {.delay = 60s});
  auto same = client.enqueue(once, 1);
  auto other = client.enqueue(once, 2);
  EXPECT_TRUE(same->duplicate());
  EXPECT_EQ(same->id(), first->id());
  EXPECT_FALSE(other->duplicate());
  // Headers take no part; a key of one's own does.
  EXPECT_TRUE(client.enqueue(once, 1, {.headers = {{"a", "b"}}})->duplicate());
  EXPECT_FALSE(client.enqueue(once, 1, {.unique_key = "mine"})->duplicate());
  EXPECT_TRUE(client.enqueue(once, 7, {.unique_key = "mine"})->duplicate() || ran > 0);
  EXPECT_FALSE(client.enqueue(once, 1, {.unique = false})->duplicate());
  EXPECT_FALSE(client.enqueue(once, 1, {.queue = "another"})->duplicate());
  sim.advance(11s);  // unique_for is over, though the holder still waits
  EXPECT_FALSE(client.enqueue(once, 1)->duplicate());
}

TEST(Options, UniqueForIsTheVisibilityTimeoutUnlessGiven) {
  Simulation sim;
  constexpr Task<int(int)> once{"once", {.visibility_timeout = 40s, .unique = true}};
  sim.on(once, [](Context&, int n) { return n; });
  ASSERT_TRUE(sim.client().enqueue(once, 1, {.delay = 100s}).ok());
  sim.advance(39s);
  EXPECT_TRUE(sim.client().enqueue(once, 1)->duplicate());
  sim.advance(2s);
  EXPECT_FALSE(sim.client().enqueue(once, 1)->duplicate());
}

TEST(Options, ARateLimitSpreadsStarts) {
  Simulation sim;
  std::vector<Duration> acme, zoo;
  constexpr Task<void(int)> task{"limited", {.rate_limit = "2/s"}};
  sim.on(task, [&](Context& c, int) { (c.header("tenant") == "acme" ? acme : zoo).push_back(sim.now()); });
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(sim.client().enqueue(task, i, {.headers = {{"tenant", "acme"}}}).ok());
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(sim.client().enqueue(task, i, {.headers = {{"tenant", "zoo"}}}).ok());
  sim.drain();
  EXPECT_LE(acme.size(), 3u);
  EXPECT_EQ(zoo.size(), 2u);  // another tenant, another bucket
  sim.advance(10s);
  ASSERT_EQ(acme.size(), 10u);
  EXPECT_GE(acme.back(), 3500ms);
}

TEST(Options, AGroupRateIsSharedByTasks) {
  Simulation sim;
  std::size_t ran = 0;
  constexpr Task<void(int)> a{"a", {.group_rate_limit = "2/s", .group_rate_key = "shared"}};
  constexpr Task<void(int)> b{"b", {.group_rate_limit = "2/s", .group_rate_key = "shared"}};
  sim.on(a, [&](Context&, int) { ++ran; });
  sim.on(b, [&](Context&, int) { ++ran; });
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(sim.client().enqueue(a, i).ok());
    ASSERT_TRUE(sim.client().enqueue(b, i).ok());
  }
  sim.drain();
  EXPECT_LE(ran, 3u);
  sim.advance(10s);
  EXPECT_EQ(ran, 8u);
}

TEST(Options, LinksFollowSuccessAndFailure) {
  Simulation sim;
  std::vector<std::string> ran;
  constexpr Task<int(bool)> parent{"parent", {.max_retries = 0}};
  constexpr Task<void(std::string)> child{"child", {.queue = "children"}};
  sim.on(parent, [&](Context&, bool good) -> int {
    if (!good) throw std::runtime_error("no");
    return 1;
  });
  sim.on(child, [&](Context& c, const std::string& s) {
    EXPECT_EQ(c.queue(), "children");
    EXPECT_NE(c.meta().find("stem.parent"), std::string_view::npos);
    ran.push_back(s);
  });
  const EnqueueOptions links{.link = {link(child, "after")},
                             .link_error = {link(child, "error"), link(child, "error 2")}};
  ASSERT_TRUE(sim.client().enqueue(parent, true, links).ok());
  sim.drain();
  EXPECT_EQ(ran, std::vector<std::string>{"after"});
  ASSERT_TRUE(sim.client().enqueue(parent, false, links).ok());
  sim.drain();
  EXPECT_EQ(ran, (std::vector<std::string>{"after", "error", "error 2"}));
}

TEST(Options, HeadersMetaAndKeysReachTheHandlerOnEveryAttempt) {
  Simulation sim;
  int ran = 0;
  constexpr Task<void(int)> task{"context", {.retry = {.kind = RetryKind::kConstant, .base = 1s}}};
  sim.on(task, [&](Context& c, int) {
    ++ran;
    EXPECT_EQ(c.header("tenant"), "acme");
    EXPECT_EQ(c.headers().size(), 2u);
    EXPECT_EQ(c.meta(), R"({"n":1})");
    EXPECT_EQ(c.idempotency_key(), "pay-17");
    EXPECT_EQ(c.task_name(), "context");
    EXPECT_TRUE(c.heartbeat());
    EXPECT_FALSE(c.deadline().has_value());
    if (c.attempt() == 0) throw std::runtime_error("again");
  });
  ASSERT_TRUE(
      sim.client()
          .enqueue(
              task, 1,
              {.headers = {{"tenant", "acme"}, {"x", "\"q\""}}, .meta = R"({"n": 1})", .idempotency_key = "pay-17"})
          .ok());
  sim.advance(2s);
  EXPECT_EQ(ran, 2);
}

TEST(Options, TimeLimitsGiveADeadline) {
  Simulation sim;
  constexpr Task<void(int)> task{"limits", {.soft_time_limit = 3s, .hard_time_limit = 5s}};
  bool ran = false;
  sim.on(task, [&](Context& c, int) { ran = c.deadline().has_value(); });
  ASSERT_TRUE(sim.client().enqueue(task, 1).ok());
  sim.drain();
  EXPECT_TRUE(ran);
}

TEST(Options, ResultsLiveAsLongAsTheyShould) {
  Simulation sim;
  constexpr Task<int(int)> brief{"brief", {.result_ttl = 5s}};
  sim.on(brief, [](Context&, int n) { return n; });
  auto short_lived = sim.client().enqueue(brief, 1);
  auto longer = sim.client().enqueue(brief, 2, {.result_ttl = 60s});
  auto none = sim.client().enqueue(brief, 3, {.result_ttl = 0s});
  sim.drain();
  EXPECT_EQ(*short_lived->state(), TaskState::kSucceeded);
  EXPECT_EQ(*none->state(), TaskState::kGone);
  sim.advance(7s);
  EXPECT_EQ(*short_lived->state(), TaskState::kGone);
  EXPECT_EQ(*longer->get(0s), 2);
}

TEST(Options, ChildrenAndProgress) {
  Simulation sim;
  int ran = 0;
  constexpr Task<void(int)> child{"child"};
  constexpr Task<void(int)> parent{"parent"};
  sim.on(child, [&](Context&, int n) { ran += n; });
  sim.on(parent, [&](Context& c, int n) {
    const auto self = *sim.client().handle<void>(c.id_text());
    EXPECT_FALSE(self.progress()->has_value());
    EXPECT_TRUE(c.progress(0.25));
    EXPECT_TRUE(c.progress(0.5, "half"));
    const auto said = *self.progress();
    ASSERT_TRUE(said);
    EXPECT_DOUBLE_EQ(said->fraction, 0.5);
    EXPECT_EQ(said->data, "half");
    for (int i = 0; i < n; ++i) EXPECT_TRUE(c.enqueue(child, 1).ok());
  });
  auto handle = sim.client().enqueue(parent, 5);
  EXPECT_EQ(sim.drain(), 6u);
  EXPECT_EQ(ran, 5);
  EXPECT_FALSE(handle->progress()->has_value()) << "it is over";
}

TEST(Options, ProgressThatIsNoNumberOrOutOfRangeIsBrought) {
  Simulation sim;
  constexpr Task<void(double)> odd{"odd"};
  std::vector<double> seen;
  sim.on(odd, [&](Context& c, double fraction) {
    EXPECT_TRUE(c.progress(fraction));
    seen.push_back((*sim.client().handle<void>(c.id_text())->progress())->fraction);
  });
  for (const double fraction : {-1.0, 2.0, 1.0 / 3, std::nan("")})
    ASSERT_TRUE(sim.client().enqueue(odd, fraction).ok());
  sim.drain();
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0], 0);
  EXPECT_EQ(seen[1], 1);
  EXPECT_NEAR(seen[2], 1.0 / 3, 1e-4);
  EXPECT_EQ(seen[3], 0);
}

// Tasks that were enqueued together may share one control word; what one says must not be taken for another's.
TEST(Options, ProgressIsOfTheTaskThatSaidIt) {
  Simulation sim;
  constexpr Task<void(int)> one_of_many{"one-of-many", {.result_ttl = 0s}};
  std::vector<Handle<void>> handles;
  int ran = 0;
  sim.on(one_of_many, [&](Context& c, int n) {
    ++ran;
    EXPECT_TRUE(c.progress(n / 100.0, std::to_string(n)));
    for (const Handle<void>& handle : handles) {
      const auto said = *handle.progress();
      if (handle.id_text() != c.id_text()) {
        EXPECT_FALSE(said) << "another task's progress";
      } else if (said) {
        EXPECT_EQ(said->data, std::to_string(n));
      } else {
        ADD_FAILURE() << "its own progress is not there";
      }
    }
  });
  const std::vector<int> numbers{10, 20, 30, 40, 50, 60};
  auto many = sim.client().enqueue_many(one_of_many, std::span<const int>(numbers));
  ASSERT_FALSE(many.error);
  handles = many.handles;
  sim.drain();
  EXPECT_EQ(ran, 6);
  EXPECT_EQ(sim.broken_invariants(), "");
}

TEST(Options, ACrashIsRedeliveredAndThreeArePoison) {
  Simulation sim;
  int effects = 0;
  sim.on(twice, [&](Context&, int n) { return ++effects, 2 * n; });
  sim.crash(twice, CrashAt::kBeforeHandler);
  auto handle = sim.client().enqueue(twice, 4);
  sim.drain();
  EXPECT_EQ(*handle->get(0s), 8);
  EXPECT_EQ(effects, 1);
  sim.crash(twice, CrashAt::kAfterHandler);
  auto doubled = sim.client().enqueue(twice, 5);
  sim.drain();
  EXPECT_EQ(*doubled->get(0s), 10);
  EXPECT_EQ(effects, 3);  // at least once: the crash came after the effect
  sim.crash(twice, CrashAt::kBeforeHandler, 3);
  auto poison = sim.client().enqueue(twice, 6);
  sim.drain();
  EXPECT_EQ(*poison->state(), TaskState::kDead);
  EXPECT_NE(poison->get(0s).error().message.find("died"), std::string::npos);
  EXPECT_EQ(sim.broken_invariants(), "");
}

TEST(Options, WrongPayloadsAndUnknownTasksAreDead) {
  Simulation sim;
  struct Wide {
    long a, b;
  };
  constexpr Task<int(Wide)> other{"twice"};  // the same name, another definition
  sim.on(twice, [](Context&, int n) { return n; });
  auto wrong = sim.client().enqueue(other, {1, 2});
  auto unknown = sim.client().enqueue_raw("nobody", {});
  sim.drain();
  EXPECT_EQ(*wrong->state(), TaskState::kDead);
  EXPECT_NE(wrong->get(0s).error().message.find("payload-invalid"), std::string::npos);
  EXPECT_EQ(*unknown->state(), TaskState::kDead);
}

}  // namespace
}  // namespace stem::api_tests
