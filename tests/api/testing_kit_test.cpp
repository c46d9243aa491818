#include "stem/testing.hpp"

#include <gtest/gtest.h>

#include "stem/json.hpp"

namespace stem::api_tests {
namespace {

constexpr Task<int(int, int)> combine{"combine"};
constexpr Task<std::string(std::string)> greet{"greet", {.queue = "hello"}};
constexpr Task<void()> tick{"tick"};

TEST(Recorder, RemembersWhatWasEnqueuedAndRunsNothing) {
  testing::Recorder recorder;
  EXPECT_TRUE(recorder.expect_nothing_enqueued());
  ASSERT_TRUE(recorder.client().enqueue(combine, {1, 2}).ok());
  ASSERT_TRUE(recorder.client().enqueue(greet, "x", {.delay = 5s}).ok());
  ASSERT_TRUE(recorder.client().enqueue(tick).ok());
  EXPECT_TRUE(recorder.expect_enqueued(combine, [](const auto& args) { return std::get<1>(args) == 2; }));
  EXPECT_TRUE(recorder.expect_enqueued(
      greet, [](const std::string& s, const EnqueueOptions& o) { return s == "x" && o.delay == 5s; }));
  EXPECT_TRUE(recorder.expect_enqueued(tick));
  const auto missing = recorder.expect_enqueued(combine, [](const auto&) { return false; });
  EXPECT_FALSE(missing);
  EXPECT_NE(missing.message.find("combine"), std::string::npos);
  EXPECT_FALSE(recorder.expect_nothing_enqueued());
  EXPECT_EQ(recorder.enqueued(greet), std::vector<std::string>{"x"});
  EXPECT_EQ(recorder.all()[1].queue, "hello");
  recorder.clear();
  EXPECT_TRUE(recorder.expect_nothing_enqueued());
  constexpr Task<void(int)> bad{"bad", {.rate_limit = "fast"}};
  EXPECT_EQ(recorder.client().enqueue(bad, 1).error().code, Errc::kInvalidArgument);
}

TEST(Inline, RunsTheHandlerInsideEnqueue) {
  testing::Inline inline_run;
  int ticks = 0;
  inline_run.on(combine, [](Context&, int a, int b) { return a + b; });
  inline_run.on(tick, [&](Context& c) {
    ++ticks;
    EXPECT_EQ(c.attempt(), 0u);
  });
  inline_run.on(greet, [](Context& c, const std::string& name) -> Outcome<std::string> {
    if (name == "nobody") return discard("no name");
    if (name == "throw") throw std::runtime_error("thrown");
    EXPECT_TRUE(c.enqueue(tick, {}).ok());
    return "hello " + name + c.header("mark");
  });
  Client& client = inline_run.client();
  EXPECT_EQ(*client.enqueue(combine, {40, 2})->get(0s), 42);
  EXPECT_EQ(*client.enqueue(greet, "you", {.headers = {{"mark", "!"}}})->get(0s), "hello you!");
  EXPECT_EQ(ticks, 1);
  EXPECT_EQ(*client.enqueue(greet, "nobody")->state(), TaskState::kCancelled);
  const auto thrown = client.enqueue(greet, "throw")->get(0s);
  ASSERT_FALSE(thrown.ok());
  EXPECT_NE(thrown.error().message.find("thrown"), std::string::npos);
  const auto unknown = client.enqueue_raw("unknown", {});
  EXPECT_NE(unknown->get(0s).error().message.find("no handler"), std::string::npos);
}

TEST(Simulation, GetLetsTimePassUntilTheTaskIsOver) {
  testing::Simulation sim;
  sim.on(combine, [](Context&, int a, int b) { return a * b; });
  auto handle = sim.client().enqueue(combine, {6, 7}, {.delay = 1h});
  const auto early = handle->get(1s);
  ASSERT_FALSE(early.ok());
  EXPECT_EQ(early.error().code, Errc::kTimeout);
  EXPECT_EQ(sim.now(), 1s);
  sim.advance(1h - 2s);
  EXPECT_EQ(*handle->get(10s), 42);
  EXPECT_THROW(sim.on(Task<void(int)>{"bad", {.rate_limit = "x"}}, [](Context&, int) {}), std::runtime_error);
}

TEST(Simulation, TwoAreApart) {
  testing::Simulation one, two;
  int ran_one = 0, ran_two = 0;
  one.on(tick, [&](Context&) { ++ran_one; });
  two.on(tick, [&](Context&) { ++ran_two; });
  ASSERT_TRUE(one.client().enqueue(tick).ok());
  two.drain();
  one.drain();
  EXPECT_EQ(ran_one, 1);
  EXPECT_EQ(ran_two, 0);
}

}  // namespace
}  // namespace stem::api_tests
