#include "shm/names.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"

namespace stem::shm {
namespace {

class NamesTest : public ::testing::Test {
 protected:
  NamesTest() : options(test::small_segment(scratch)) {}
  test::ScratchDirectory scratch;
  SegmentOptions options;
};

TEST_F(NamesTest, ANameIsOneNumberForEver) {
  const auto s = test::must_create(options);
  const auto a = intern_queue(*s, "mail");
  const auto b = intern_queue(*s, "video");
  ASSERT_TRUE(a && b);
  EXPECT_NE(*a, *b);
  EXPECT_EQ(*intern_queue(*s, "mail"), *a);
  EXPECT_EQ(*find_queue(*s, "mail"), *a);
  EXPECT_EQ(queue_name(*s, *a), "mail");
  EXPECT_EQ(queue_total(*s), 2u);
  EXPECT_EQ(task_total(*s), 0u) << "tasks have a table of their own";
  const auto missing = find_queue(*s, "nobody");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::kNotFound);
}

TEST_F(NamesTest, BadNamesAreRefused) {
  const auto s = test::must_create(options);
  for (const std::string& name :
       {std::string(), std::string("a b"), std::string("a\n"), std::string("\x7f"), std::string(kNameBytes, 'a')}) {
    const auto made = intern_queue(*s, name);
    ASSERT_FALSE(made) << name;
    EXPECT_EQ(made.error().code, Errc::kInvalidArgument);
  }
  EXPECT_TRUE(intern_queue(*s, std::string(kNameBytes - 1, 'a')));
  EXPECT_TRUE(intern_queue(*s, "größe/ünïcode"));
  EXPECT_EQ(queue_name(*s, *find_queue(*s, std::string(kNameBytes - 1, 'a'))).size(), kNameBytes - 1);
}

TEST_F(NamesTest, AFullTableSaysSoAndKeepsWhatItHas) {
  options.queue_count = 3;
  const auto s = test::must_create(options);
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(intern_queue(*s, name));
  const auto full = intern_queue(*s, "d");
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Errc::kFull);
  EXPECT_EQ(*intern_queue(*s, "b"), 1u);
}

TEST_F(NamesTest, TenThousandQueues) {
  options.queue_count = 16384;
  const auto s = test::must_create(options);
  std::set<std::uint32_t> ids;
  for (int i = 0; i < 10'000; ++i) {
    const auto id = intern_queue(*s, "queue-" + std::to_string(i));
    ASSERT_TRUE(id);
    ids.insert(*id);
  }
  EXPECT_EQ(ids.size(), 10'000u);
  for (int i = 0; i < 10'000; i += 97) {
    const std::string name = "queue-" + std::to_string(i);
    EXPECT_EQ(queue_name(*s, *find_queue(*s, name)), name);
  }
}

TEST_F(NamesTest, ManyThreadsAgree) {
  const auto s = test::must_create(options);
  std::vector<std::map<std::string, std::uint32_t>> seen(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < seen.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        const std::string name = "n" + std::to_string((i * 7 + static_cast<int>(t)) % 60);
        if (const auto id = intern_task(*s, name)) seen[t][name] = *id;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& one : seen) EXPECT_EQ(one, seen[0]);
  EXPECT_EQ(seen[0].size(), 60u);
  std::set<std::uint32_t> ids;
  for (const auto& [name, id] : seen[0]) {
    ids.insert(id);
    EXPECT_EQ(task_name(*s, id), name);
  }
  EXPECT_EQ(ids.size(), 60u);
}

TEST_F(NamesTest, ProcessesAgreeAlsoWhenSomeAreKilled) {
  options.queue_count = 512;
  const auto s = test::must_create(options);
  for (int round = 0; round < 20; ++round) {
    test::Process child([&] {
      const auto mine = test::must_attach("test", scratch.path());
      for (int i = 0;; ++i)
        if (!intern_queue(*mine, "q" + std::to_string(i % 400))) return 1;
    });
    for (int i = 0; i < 400; i += 3) ASSERT_TRUE(intern_queue(*s, "q" + std::to_string(399 - i)));
    child.kill();
  }
  std::set<std::uint32_t> ids;
  for (int i = 0; i < 400; ++i) {
    const std::string name = "q" + std::to_string(i);
    const auto id = intern_queue(*s, name);
    ASSERT_TRUE(id);
    ids.insert(*id);
    EXPECT_EQ(queue_name(*s, *id), name);
  }
  EXPECT_EQ(ids.size(), 400u);
}

TEST_F(NamesTest, AHashIsNeverZero) {
  EXPECT_NE(name_hash(""), 0u);
  EXPECT_NE(name_hash("a"), name_hash("b"));
}

}  // namespace
}  // namespace stem::shm
