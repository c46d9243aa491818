// Ten thousand queues in one segment: each with its own lanes, counters and limits.
#include "shm/names.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class ManyQueues : public VirtualHost {
 protected:
  ManyQueues()
      : VirtualHost([](shm::SegmentOptions& options) {
          options.queue_count = 16'384;
          options.slot_count = 32'768;
        }) {}
};

TEST_F(ManyQueues, TenThousandEachWithItsOwnTasks) {
  constexpr std::uint32_t kQueues = 10'000;
  std::vector<std::uint32_t> queues;
  for (std::uint32_t i = 0; i < kQueues; ++i)
    queues.push_back(test::must_queue(*segment_, "queue-" + std::to_string(i)));
  for (std::uint32_t i = 0; i < kQueues; ++i) {
    queue_ = queues[i];
    put(i);
    if (i % 100 == 0) put(i + kQueues, [](TaskSpec& spec) { spec.priority = 9; });
  }
  const std::uint64_t bytes = segment_->used_bytes();
  EXPECT_LT(bytes, 200ull << 20) << "of the segment, with everything";
  const auto stats = Query(*producer_).queues();
  ASSERT_EQ(stats.size(), kQueues + 1);
  for (std::uint32_t i = 0; i < kQueues; ++i) {
    ASSERT_EQ(stats[queues[i]].name, "queue-" + std::to_string(i));
    ASSERT_EQ(stats[queues[i]].ready, i % 100 == 0 ? 2u : 1u);
  }
  for (std::uint32_t i = kQueues; i-- > 0;) {
    queue_ = queues[i];
    const auto numbers = drain();
    if (i % 100 == 0) {
      ASSERT_EQ(numbers, (std::vector<std::uint64_t>{i + kQueues, i}));
    } else {
      ASSERT_EQ(numbers, (std::vector<std::uint64_t>{i}));
    }
  }
  queue_ = queues[4242];
  EXPECT_EQ(tally(), "enqueued 1 started 1 succeeded 1");
  EXPECT_EQ(shm::find_queue(*segment_, "queue-9999").value(), queues[9999]);
  EXPECT_FALSE(shm::find_queue(*segment_, "queue-10000"));
}

TEST_F(ManyQueues, TheTableSaysWhenItIsFull) {
  std::uint32_t made = 1;
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    const auto queue = shm::intern_queue(*segment_, "q" + std::to_string(i));
    if (!queue) break;
    ++made;
  }
  EXPECT_EQ(made, 16'384u);
  put(1);
  EXPECT_EQ(drain().size(), 1u);
}

}  // namespace
}  // namespace stem::engine
