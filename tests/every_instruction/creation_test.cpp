// Killed while it creates a segment: either nobody knows of it, or it is complete.
#include <unistd.h>

#include <filesystem>

#include "tests/every_instruction/every_instruction.hpp"

namespace stem::engine {
namespace {

test::Prepare creating(const ScratchDirectory& scratch) {
  return [&scratch] {
    return std::function<void()>([&scratch] {
      if (!shm::Segment::create(smallest(scratch)).ok()) ::_exit(3);
    });
  };
}

bool sound(const ScratchDirectory& scratch) {
  const auto segment = shm::Segment::attach("test", scratch.path());
  if (!segment.ok()) return false;
  World world(*segment, scratch);
  return world.add(1) == EnqueueStatus::kOk && world.drain().size() == 1 && test::unsettled(*world.self).empty();
}

TEST(Creation, TheNameAppearsWhenTheSegmentIsComplete) {
  {  // What the first call of anything costs (symbols are looked up then) is not to be counted.
    ScratchDirectory first;
    ASSERT_TRUE(shm::Segment::create(smallest(first)).ok());
  }
  ScratchDirectory scratch;
  const std::string path = scratch.file("test");
  test::SteppedChild child(creating(scratch));
  std::uint64_t unnamed = 0;  // instructions until the name was there
  while (child.step()) {
    const bool named = ::access(path.c_str(), F_OK) == 0;
    if (!named) {
      ASSERT_EQ(unnamed, 0u) << "the name went away again";
    } else if (unnamed == 0) {
      unnamed = child.steps();
      EXPECT_TRUE(sound(scratch)) << "after " << unnamed << " instructions";
    }
  }
  ASSERT_GT(unnamed, 100u);
  child.kill();
  EXPECT_TRUE(sound(scratch));
  count_points(child.steps(), 2);
  for (const std::uint64_t at : {unnamed / 4, unnamed / 2, unnamed * 3 / 4}) {
    ScratchDirectory other;
    test::SteppedChild victim(creating(other));
    while (victim.steps() < at && victim.step()) {
    }
    victim.kill();
    EXPECT_TRUE(std::filesystem::is_empty(other.path())) << "killed after " << at << " instructions";
    EXPECT_TRUE(shm::Segment::create(smallest(other)).ok());
    count_points(at, 1);
  }
}

}  // namespace
}  // namespace stem::engine
