// The machine against the language, and every scene of the product under the machine.
//   STEM_EXPLORER=full   the long search (docs/reliability.md); a number: as many executions of each kind
//   STEM_TEST_SEED=N     where random executions start
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "scene.hpp"

namespace explorer {
namespace {

// Executions of a scene: within each bounds, and at random.
std::uint64_t most_executions() {
  const char* set = std::getenv("STEM_EXPLORER");
  if (set == nullptr) return 6000;
  return std::string_view(set) == "full" ? 3'000'000 : std::strtoull(set, nullptr, 10);
}

std::uint64_t seed() {
  const char* set = std::getenv("STEM_TEST_SEED");
  return set != nullptr ? std::strtoull(set, nullptr, 10) : 1;
}

std::string told(const Outcome& o) { return o.text + "\n" + o.schedule; }

class LitmusTest : public testing::TestWithParam<Litmus> {};

TEST_P(LitmusTest, IsAsTheLanguageSays) {
  const auto play = GetParam().scene.make();
  const Outcome all = run_bounded(*play, {3, 3, 200'000});
  EXPECT_EQ(all.failed, GetParam().allowed) << told(all);
  EXPECT_TRUE(all.failed || all.exhausted);
  const Outcome some = run_random(*play, seed(), 2000);
  EXPECT_EQ(some.failed, GetParam().allowed) << told(some);
}

INSTANTIATE_TEST_SUITE_P(All, LitmusTest, testing::ValuesIn(litmus_tests()),
                         [](const auto& it) { return std::string(it.param.scene.name); });

TEST(Machine, ASeedLeadsToTheSameSchedule) {
  for (const Litmus& litmus : litmus_tests()) {
    if (!litmus.allowed) continue;
    const auto play = litmus.scene.make();
    const Outcome once = run_random(*play, 5, 2000), again = run_random(*play, 5, 2000);
    EXPECT_EQ(once.text, again.text);
    EXPECT_EQ(once.schedule, again.schedule);
    EXPECT_THAT(once.schedule, testing::Not(testing::HasSubstr("not determined")));
  }
}

class SceneTest : public testing::TestWithParam<Scene> {};

// First within bounds, so that what a few switches and a few old values can do is done; then at random.
TEST_P(SceneTest, Holds) {
  const auto play = GetParam().make();
  const std::uint64_t most = most_executions();
  std::uint64_t executions = 0;
  for (const Bounds& bounds : {Bounds{1, 1, most}, Bounds{2, 1, most}, Bounds{2, 2, most}, Bounds{3, 2, most}}) {
    const Outcome o = run_bounded(*play, bounds);
    ASSERT_FALSE(o.failed) << told(o);
    EXPECT_EQ(o.cut_off, 0u);
    executions += o.executions;
    if (!o.exhausted) break;
    RecordProperty("preemptions", static_cast<int>(bounds.preemptions));
    RecordProperty("stale_reads", static_cast<int>(bounds.stale_reads));
  }
  const Outcome o = run_random(*play, seed(), most);
  ASSERT_FALSE(o.failed) << told(o);
  std::printf("%s: %llu executions within bounds, %llu at random\n", GetParam().name,
              static_cast<unsigned long long>(executions), static_cast<unsigned long long>(o.executions));
}

INSTANTIATE_TEST_SUITE_P(All, SceneTest, testing::ValuesIn(scenes()),
                         [](const auto& it) { return std::string(it.param.name); });

}  // namespace
}  // namespace explorer
