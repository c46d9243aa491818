#include "beat/store.hpp"

#include <gmock/gmock.h>

#include "tests/beat/beat_host.hpp"
#include "tests/support/process.hpp"

namespace stem::beat::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Store : public BeatHost {
 protected:
  std::vector<std::string> ids() {
    std::vector<std::string> all;
    for (const auto& stored : store_.list()) all.push_back(stored.entry.id);
    return all;
  }
  std::uint64_t definition_blocks() {
    std::uint64_t count = 0;
    const auto* rows = segment_->at<shm::SuperblockRow>(segment_->layout().superblock_rows);
    for (std::uint32_t s = 0; s < segment_->header().superblocks_used.load(); ++s)
      for (std::uint32_t b = 0; b < rows[s].blocks_used.load(); ++b)
        if (const auto* h = worker_->blocks().header(s << 14 | b);
            h != nullptr && shm::tag_kind(h->tag.load()) != shm::BlockKind::kFree)
          ++count;
    return count;
  }
};

TEST_F(Store, EntriesComeChangeAndGo) {
  EXPECT_TRUE(ids().empty());
  EXPECT_EQ(put(R"({"id":"b","task":"t","spec":"every:1s"})"), Change::kCreated);
  EXPECT_EQ(put(R"({"id":"a","task":"t","spec":"every:2s","args":[1,"two"],"meta":{"k":1}})"), Change::kCreated);
  EXPECT_THAT(ids(), ElementsAre("a", "b"));
  EXPECT_EQ(put(R"({"name":"b","taskName":"t","schedule":"every:1s"})"), Change::kNone) << "the same in other words";
  pass(10 * kSecondNs);
  EXPECT_EQ(put(R"({"id":"b","task":"t","spec":"every:1s","queue":"other"})"), Change::kChanged);
  auto b = store_.find("b");
  ASSERT_TRUE(b);
  EXPECT_EQ(b->entry.queue, "other");
  EXPECT_EQ(b->since_ns, origin_ns_) << "its ticks go on";
  EXPECT_EQ(put(R"({"id":"b","task":"t","spec":"every:3s"})"), Change::kChanged);
  EXPECT_EQ(store_.find("b")->since_ns, now_.realtime_ns) << "a new spec begins anew";
  EXPECT_EQ(store_.find("a")->entry.args.dump(), R"([1,"two"])");
  EXPECT_EQ(*store_.remove("a"), Change::kRemoved);
  EXPECT_EQ(*store_.remove("a"), Change::kNone);
  EXPECT_THAT(ids(), ElementsAre("b"));
  EXPECT_EQ(definition_blocks(), 1u) << "replaced definitions give their blocks back";
  EXPECT_EQ(put(R"({"id":"c","task":"t","spec":"every:1s"})"), Change::kCreated);
  EXPECT_EQ(store_.row_total(), 2u) << "rows are used again";
}

TEST_F(Store, AnOldLifeLeavesNothingToItsRow) {
  auto beat = this->beat();
  put(R"({"id":"a","task":"t","spec":"every:1s"})");
  run({beat.get()}, 3 * kSecondNs);
  EXPECT_EQ(planned().size(), 3u);
  (void)store_.remove("a");
  put(R"({"id":"z","task":"t","spec":"every:1s"})");
  const auto z = store_.find("z");
  ASSERT_TRUE(z);
  EXPECT_EQ(z->row, 0u);
  EXPECT_EQ(z->figures.fired_ns, 0);
}

TEST_F(Store, ManyProcessesPutTheSameIdsAndEachIsThereOnce) {
  constexpr int kProcesses = 4;
  constexpr int kIds = 40;
  ASSERT_TRUE(store_.prepare_table().ok());
  std::vector<stem::test::Process> processes;
  for (int p = 0; p < kProcesses; ++p)
    processes.emplace_back([this, p] {
      Attached self(stem::test::must_attach("test", directory_.path()));
      ScheduleStore store(*self);
      for (int round = 0; round < 5; ++round) {
        for (int i = 0; i < kIds; ++i) {
          const std::string id = "id-" + std::to_string((i * 7 + p * 11) % kIds);
          const auto put = store.put(
              entry("{\"id\":\"" + id + "\",\"task\":\"t\",\"spec\":\"every:" + std::to_string(1 + p) + "s\"}"), 1);
          if (!put.ok()) return 1;
          if (round < 4 && i % 5 == p && !store.remove(id).ok()) return 2;
        }
      }
      return 0;
    });
  for (auto& process : processes) EXPECT_EQ(process.wait(), 0);
  const auto all = ids();
  EXPECT_EQ(all.size(), static_cast<std::size_t>(kIds));
  EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end()) << "an id stands twice";
  settle();
  EXPECT_EQ(definition_blocks(), static_cast<std::uint64_t>(kIds));
}

TEST_F(Store, TooLargeAndTooMany) {
  auto large = entry(R"({"id":"a","task":"t","spec":"every:1s"})");
  large.args = std::string(kLargestEntry, 'x');
  const auto refused = store_.put(large, now_.realtime_ns);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kTooLarge);
}

TEST_F(Store, NonsenseInTheSegmentIsLeftOut) {
  put(R"({"id":"a","task":"t","spec":"every:1s"})");
  put(R"({"id":"b","task":"t","spec":"every:1s"})");
  const auto a = store_.find("a");
  auto* header = worker_->blocks().header(a->word.block());
  const auto bytes = worker_->blocks().bytes(a->word.block(), header->tag.load());
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    base::Random random(seed);
    for (int i = 0; i < 3; ++i)
      bytes[random.below(std::min<std::size_t>(header->bytes, 160))] = static_cast<std::byte>(random.below(256));
    (void)store_.list();
    if (seed % 50 == 0) std::memset(bytes.data(), static_cast<int>(random.below(256)), 160);
  }
  header->bytes = 0xffffffff;
  EXPECT_THAT(ids(), ElementsAre("b"));
  header->bytes = 8;
  EXPECT_THAT(ids(), ElementsAre("b"));
}

TEST(EntryRefusal, SaysWhatAndWhatIsAllowed) {
  const auto refusal = [](const char* json) {
    const auto parsed = Entry::parse(nlohmann::json::parse(json));
    return parsed.ok() ? std::string() : parsed.error().message;
  };
  EXPECT_THAT(refusal(R"({"task":"t","spec":"every:1s"})"), HasSubstr("no \"id\""));
  EXPECT_THAT(refusal(R"({"id":"a","spec":"every:1s"})"), HasSubstr("no \"task\""));
  EXPECT_THAT(refusal(R"({"id":"a","task":"t"})"), HasSubstr("no \"spec\""));
  EXPECT_THAT(refusal(R"({"id":"a b","task":"t","spec":"every:1s"})"), HasSubstr("spaces"));
  EXPECT_THAT(refusal(R"({"id":"a","task":"t","spec":"every:1s","misfire":"never"})"),
              HasSubstr("allowed: skip, once, all"));
  EXPECT_THAT(refusal(R"({"id":"a","task":"t","spec":"every:1s","misfireMax":0})"), HasSubstr("1 to 100000"));
  EXPECT_THAT(refusal(R"({"id":"a","task":"t","spec":"every:1s","enabled":"yes"})"), HasSubstr("true or false"));
  EXPECT_THAT(refusal(R"({"id":"a","task":"t","spec":"every:1s","jitter":"-1s"})"), HasSubstr("jitter"));
  EXPECT_THAT(refusal(R"({"id":"a","task":"t","spec":"every:1s","timezone":"Nowhere"})"), HasSubstr("IANA"));
  EXPECT_THAT(refusal(R"({"id":"a","name":"b","task":"t","spec":"every:1s"})"), HasSubstr("not both"));
}

}  // namespace
}  // namespace stem::beat::test
