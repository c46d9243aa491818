#include "tools/stem/nearest.hpp"

#include <gtest/gtest.h>

namespace stem::cli {
namespace {

TEST(Nearest, CountsEdits) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("queue", "queue"), 0u);
  EXPECT_EQ(edit_distance("queue", ""), 5u);
  EXPECT_EQ(edit_distance("queue", "queues"), 1u);
  EXPECT_EQ(edit_distance("doctor", "docter"), 1u);
  EXPECT_EQ(edit_distance("show", "shwo"), 1u) << "neighbours swapped are one slip";
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

TEST(Nearest, FindsTheLikelyWordAndNoUnlikelyOne) {
  const std::vector<std::string> words{"worker", "queue", "task", "completion"};
  EXPECT_EQ(nearest("wroker", words), "worker");
  EXPECT_EQ(nearest("workers", words), "worker");
  EXPECT_EQ(nearest("comp", words), "completion");
  EXPECT_EQ(nearest("tsk", words), "task");
  EXPECT_EQ(nearest("zebra", words), "");
  EXPECT_EQ(nearest("", words), "");
  EXPECT_EQ(nearest(std::string(1'000'000, 'w'), words), "");
  EXPECT_EQ(did_you_mean("queu", words), "; did you mean queue?");
}

}  // namespace
}  // namespace stem::cli
