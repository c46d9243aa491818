// The host goes down under load: every process is killed at once and the segment is gone. A ledger, which survives,
// says what was promised; what comes back is held against it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "base/clock.hpp"
#include "engine/control.hpp"
#include "journal/disk_store.hpp"
#include "journal/expect.hpp"
#include "journal/serve.hpp"
#include "stem/client.hpp"
#include "tests/journal/disk_directory.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/ledger.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"
#include "tests/support/wait.hpp"

namespace stem::journal {
namespace {

using test::Entry;
using test::Ledger;

struct Number {
  std::uint64_t n;
};
constexpr Task<void(Number)> work{"work", {.queue = "durable"}};

constexpr std::size_t kLedgerEntries = 1u << 17;
constexpr int kProducers = 2;
constexpr int kWorkers = 2;

class Reboot : public ::testing::Test {
 protected:
  ServeOptions serve_options() const {
    return {.name_space = "test",
            .shm_directory = shm_->path(),
            .directory = disk_.path() + "/test",
            .writer = {.file_bytes = 1u << 20}};
  }

  // A new segment, as after a boot, with somebody who writes the journal.
  void boot(bool first) {
    shm_.emplace();
    segment_ = test::must_create(test::small_segment(*shm_));
    watcher_.emplace(segment_);
    if (first) {
      const std::uint32_t queue = test::must_queue(*segment_, "durable");
      ASSERT_TRUE(engine::Control(**watcher_).set_durability(queue, shm::Durability::kSync));
    }
    start_writer();
    ASSERT_TRUE(test::wait_until([this] { return runs(); }, test::kLong));
    if (!first) {
      EXPECT_EQ(shm::durability_of(*segment_, test::must_queue(*segment_, "durable")), shm::Durability::kSync);
    }
  }
  void start_writer() {
    writers_.emplace_back([options = serve_options()] { return serve(options, [] { return false; }).ok() ? 0 : 1; });
  }
  bool runs() const { return shm::journal_runs(*segment_, base::monotonic_ns()); }

  // One for each process that writes, and each of its lives.
  Ledger& new_ledger() { return *ledgers_.emplace_back(std::make_unique<Ledger>(kLedgerEntries)); }

  void start_load() {
    for (int i = 0; i < kProducers; ++i) {
      const std::uint64_t first = std::uint64_t{ledgers_.size()} << 24;
      load_.emplace_back([this, first, &ledger = new_ledger()] { return produce(ledger, first); });
    }
    for (int i = 0; i < kWorkers; ++i) load_.emplace_back([this, &ledger = new_ledger()] { return consume(ledger); });
  }

  int produce(Ledger& ledger, std::uint64_t first) {
    auto client = Client::open("test", {.directory = shm_->path()});
    if (!client.ok()) return 1;
    for (std::uint64_t n = first; !ledger.full(); ++n) {
      ledger.append({Entry::kOffered, 0, n});
      const auto made = client->enqueue(work, Number{n});
      const Errc why = made.ok() ? Errc::kNotDurable : made.error().code;
      ledger.append({made.ok() ? Entry::kAccepted : Entry::kRefused, static_cast<std::uint32_t>(why), n});
      // A writer that is silent for 2 s, as on a busy machine, has every call refused at once: that many would fill the
      // ledger in a second, and the producer would be over.
      while (!made.ok() && !runs()) ::usleep(1000);
    }
    return 0;
  }

  int consume(Ledger& ledger) {
    test::Attached self(test::must_attach("test", shm_->path()), shm::Role::kWorker);
    const std::uint32_t queue = test::must_queue(self->segment(), "durable");
    for (;;) {
      if (run_one(self, queue, ledger)) continue;
      ::usleep(50);
    }
  }

  static bool run_one(test::Attached& self, std::uint32_t queue, Ledger& ledger) {
    engine::Lease lease;
    engine::TaskView view;
    const std::int64_t now = base::monotonic_ns();
    if (self->claim(queue, &lease, 1, now) == 0) return false;
    if (!self->view(lease, view) || self->begin(lease, view, now) != engine::Begin::kStart) return true;
    const auto decoded = Codec<Number>::decode(view.payload);
    const std::uint64_t number = decoded.ok() ? decoded->n : 0xffffffffff;
    ledger.append({Entry::kExecuted, 0, number});
    if (self->succeed(lease, view, {}, now) == engine::Settled::kDone) ledger.append({Entry::kAcknowledged, 0, number});
    return true;
  }

  std::size_t count(Entry::What what) const {
    std::size_t all = 0;
    for (const auto& ledger : ledgers_)
      for (const Entry& entry : ledger->entries()) all += entry.what == what ? 1 : 0;
    return all;
  }
  // So many so far; reads each entry once.
  std::size_t accepted() {
    read_.resize(ledgers_.size(), 0);
    for (std::size_t i = 0; i < ledgers_.size(); ++i)
      for (Entry entry; read_[i] < kLedgerEntries && (entry = ledgers_[i]->at(read_[i])).what != 0; ++read_[i])
        accepted_ += entry.what == Entry::kAccepted ? 1 : 0;
    return accepted_;
  }
  // False when none came for a long time before there were so many: how long they take altogether is the machine's.
  [[nodiscard]] bool accepts(std::size_t many) {
    for (std::size_t last = accepted(); last < many; last = accepted())
      if (!test::wait_until([&] { return accepted() > last; }, test::kLong)) return false;
    return true;
  }
  std::map<std::uint64_t, int> numbers(Entry::What what) const {
    std::map<std::uint64_t, int> all;
    for (const auto& ledger : ledgers_)
      for (const Entry& entry : ledger->entries())
        if (entry.what == what) ++all[entry.task];
    return all;
  }

  // What is acknowledged now will not run again, whatever happens: its end is on disk when this returns.
  std::map<std::uint64_t, int> over_for_good() {
    auto over = numbers(Entry::kAcknowledged);
    const std::uint64_t position = shm::journal_position(*segment_);
    EXPECT_TRUE(test::wait_until(
        [&] { return shm::await_journal(*segment_, position, base::monotonic_ns() + 1'000'000); }, test::kLong));
    return over;
  }

  void power_off() {
    for (test::Process& process : load_) process.signal(SIGKILL);
    for (test::Process& process : writers_) process.signal(SIGKILL);
    load_.clear();
    writers_.clear();
    watcher_.reset();
    segment_.reset();
    shm_.reset();
  }

  test::DiskDirectory disk_;
  std::optional<test::ScratchDirectory> shm_;
  std::shared_ptr<shm::Segment> segment_;
  std::optional<test::Attached> watcher_;
  std::vector<std::unique_ptr<Ledger>> ledgers_;
  std::vector<std::size_t> read_;  // entries of each that are in accepted_
  std::size_t accepted_ = 0;
  std::vector<test::Process> load_, writers_;
};

TEST_F(Reboot, EveryTaskThatWasPromisedIsAccountedFor) {
  constexpr int kReboots = 4;
  std::map<std::uint64_t, int> over;  // acknowledged, and their ends on disk: how often they had run
  for (int boot_number = 0; boot_number <= kReboots; ++boot_number) {
    boot(/*first=*/boot_number == 0);
    const std::size_t before = accepted();
    start_load();
    ASSERT_TRUE(accepts(before + 500));
    if (boot_number == 1) {  // the writer stands still until a producer is told so; then all goes on
      const std::size_t refused = count(Entry::kRefused);
      writers_.front().stop();
      ASSERT_TRUE(test::wait_until([&] { return count(Entry::kRefused) > refused; }, test::kLong));
      writers_.front().resume();
      ASSERT_TRUE(accepts(accepted() + 500));
    }
    if (boot_number == 2) {  // the writer alone is killed; one that stands by goes on
      start_writer();
      writers_.front().kill();
      ASSERT_TRUE(accepts(accepted() + 500));
    }
    over = over_for_good();
    ASSERT_TRUE(accepts(accepted() + 50));
    const auto executed_before = numbers(Entry::kExecuted);
    power_off();
    for (auto& [number, times] : over) {
      const auto found = executed_before.find(number);
      times = found == executed_before.end() ? 0 : found->second;
    }
    // Those that were over do not run again in any later boot; looked at in the next round's account below.
    if (boot_number == kReboots) break;
    boot(/*first=*/false);
    test::Attached worker(segment_, shm::Role::kWorker);
    const std::uint32_t queue = test::must_queue(*segment_, "durable");
    Ledger& ledger = new_ledger();
    while (run_one(worker, queue, ledger)) {
    }
    const auto executed = numbers(Entry::kExecuted);
    const auto accepted = numbers(Entry::kAccepted);
    std::size_t lost = 0, again = 0;
    for (const auto& [number, times] : accepted) lost += executed.contains(number) ? 0 : 1;
    for (const auto& [number, times] : over) again += executed.at(number) > std::max(times, 1) ? 1 : 0;
    EXPECT_EQ(lost, 0u) << "of " << accepted.size() << " accepted";
    EXPECT_EQ(again, 0u) << "of " << over.size() << " that were over";
    EXPECT_EQ(test::broken_invariants(**watcher_), "");
    over_for_good();
    power_off();
  }
  for (const auto& ledger : ledgers_)
    for (const Entry& entry : ledger->entries()) {
      if (entry.what == Entry::kRefused) {
        EXPECT_EQ(static_cast<Errc>(entry.detail), Errc::kNotDurable);
      }
    }
}

TEST_F(Reboot, WithoutAWriterAQueueWithAJournalRefuses) {
  boot(/*first=*/true);
  auto client = Client::open("test", {.directory = shm_->path()});
  ASSERT_TRUE(client.ok());
  ASSERT_TRUE(client->enqueue(work, Number{1}).ok());
  writers_.front().kill();
  ASSERT_TRUE(test::wait_until([this] { return !runs(); }));
  const auto refused = client->enqueue(work, Number{2});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kNotDurable);
  constexpr Task<void(Number)> other{"work", {.queue = "memory"}};
  EXPECT_TRUE(client->enqueue(other, Number{3}).ok());
  start_writer();
  ASSERT_TRUE(test::wait_until([this] { return runs(); }));
  EXPECT_TRUE(client->enqueue(work, Number{4}).ok());
}

// Stopped in the middle, the writer keeps the lock: nobody takes over, and who waits is told, not kept.
TEST_F(Reboot, AStoppedWriterIsToldAndNotReplaced) {
  boot(/*first=*/true);
  auto client = Client::open("test", {.directory = shm_->path()});
  ASSERT_TRUE(client.ok());
  ASSERT_TRUE(client->enqueue(work, Number{1}).ok());
  start_writer();
  writers_.front().stop();
  const auto refused = client->enqueue(work, Number{2});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kNotDurable);
  EXPECT_EQ(test::slots_in(*segment_, shm::State::kReady), 1u);  // taken back
  writers_.front().resume();
  ASSERT_TRUE(test::wait_until([this] { return runs(); }));
  EXPECT_TRUE(client->enqueue(work, Number{3}).ok());
}

// Whether a process has this file open.
bool holds(pid_t pid, const std::string& path) {
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc/" + std::to_string(pid) + "/fd", error), end; !error && it != end;
       it.increment(error)) {
    std::error_code ignored;
    if (std::filesystem::read_symlink(it->path(), ignored) == path) return true;
  }
  return false;
}

// Nobody writes yet, and nobody has read the journal: a queue that it keeps takes nothing that would not be written.
TEST(NewSegment, RefusesUntilItsJournalIsWritten) {
  const test::DiskDirectory disk;
  const test::ScratchDirectory shm;
  struct Environment {
    explicit Environment(const std::string& path) { ::setenv("STEM_JOURNAL_DIRECTORY", path.c_str(), 1); }
    ~Environment() { ::unsetenv("STEM_JOURNAL_DIRECTORY"); }
  } const environment(disk.path());
  const ServeOptions options{
      .name_space = "test", .shm_directory = shm.path(), .directory = {}, .writer = {.file_bytes = 1u << 20}};
  const auto writer = [&options] { return serve(options, [] { return false; }).ok() ? 0 : 1; };
  constexpr Task<void(Number)> in_memory{"work", {.queue = "memory"}};
  {
    const auto segment = create(test::small_segment(shm));
    ASSERT_TRUE(segment.ok()) << segment.error().message;
    test::Attached self(*segment);
    ASSERT_TRUE(engine::Control(*self).set_durability(test::must_queue(**segment, "durable"), shm::Durability::kSync));
    test::Process writes(writer);
    ASSERT_TRUE(test::wait_until([&] { return shm::journal_runs(**segment, base::monotonic_ns()); }));
    auto client = Client::open("test", {.directory = shm.path()});
    ASSERT_TRUE(client.ok());
    ASSERT_TRUE(client->enqueue(work, Number{1}).ok());
    writes.kill();
  }
  ASSERT_TRUE(shm::Segment::destroy("test", shm.path()).ok());
  {
    auto client = Client::open("test", {.directory = shm.path()});  // the first of all after the reboot
    ASSERT_TRUE(client.ok()) << client.error().message;
    const auto refused = client->enqueue(work, Number{2});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Errc::kNotDurable);
    EXPECT_TRUE(client->enqueue(in_memory, Number{3}).ok());
    test::Process writes(writer);
    ASSERT_TRUE(test::wait_until([&] { return client->enqueue(work, Number{4}).ok(); }));
    writes.kill();
  }
  // A journal that cannot be read says nothing: no segment, rather than one that forgets what was promised.
  ASSERT_TRUE(shm::Segment::destroy("test", shm.path()).ok());
  const auto directory = directory_of(options);
  ASSERT_TRUE(directory.ok());
  for (const auto& file : std::filesystem::directory_iterator(*directory))
    if (sequence_of(file.path().filename().string())) std::filesystem::resize_file(file.path(), 100);
  const auto none = create(test::small_segment(shm));
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, Errc::kCorrupt);
  EXPECT_EQ(shm::Segment::attach("test", shm.path()).error().code, Errc::kNotFound);
}

// Two containers with one home: each has a segment, both have one journal. As long as somebody stands for the first,
// the second does not bring back what lives there.
TEST(TwoSegments, OneJournalIsWrittenForOneOfThem) {
  const test::DiskDirectory disk;
  const test::ScratchDirectory shm[2];
  std::vector<std::shared_ptr<shm::Segment>> segments;
  for (const auto& directory : shm) segments.push_back(test::must_create(test::small_segment(directory)));
  const auto writer = [&](int which) {
    return test::Process([options = ServeOptions{.name_space = "test",
                                                 .shm_directory = shm[which].path(),
                                                 .directory = disk.path() + "/test",
                                                 .writer = {.file_bytes = 1u << 20}}] {
      return serve(options, [] { return false; }).ok() ? 0 : 1;
    });
  };
  const auto runs = [&](int which) { return shm::journal_runs(*segments[which], base::monotonic_ns()); };
  test::Attached self(segments[0]);
  ASSERT_TRUE(engine::Control(*self).set_durability(test::must_queue(*segments[0], "durable"), shm::Durability::kSync));
  test::Process first = writer(0);
  ASSERT_TRUE(test::wait_until([&] { return runs(0); }));
  auto client = Client::open("test", {.directory = shm[0].path()});
  ASSERT_TRUE(client.ok());
  ASSERT_TRUE(client->enqueue(work, Number{1}).ok());
  test::Process second = writer(1);
  for (int i = 0; i < 3; ++i) {
    test::Process stands_by = writer(0);
    const std::string mark =
        disk.path() + "/test/segment-" + engine::to_string(engine::TaskId{segments[0]->epoch(), 0}).substr(0, 8);
    ASSERT_TRUE(test::wait_until([&] { return std::filesystem::exists(mark) && holds(stands_by.pid(), mark); }));
    const std::uint64_t before = segments[0]->header().journal_writer.load();
    first.kill();
    ASSERT_TRUE(test::wait_until([&] { return runs(0) && segments[0]->header().journal_writer.load() != before; }));
    EXPECT_FALSE(runs(1));
    EXPECT_EQ(test::slots_in(*segments[1], shm::State::kReady), 0u);
    first = std::move(stands_by);
  }
  ASSERT_TRUE(client->enqueue(work, Number{2}).ok());
  first.kill();  // now nobody does
  ASSERT_TRUE(test::wait_until([&] { return runs(1); }));
  EXPECT_EQ(test::slots_in(*segments[1], shm::State::kReady), 2u);
}

// Nothing reaches the disk, and nobody says that the writer is gone: a producer goes so far ahead and no further.
TEST(FarAhead, AProducerWaitsForTheDisk) {
  const test::ScratchDirectory shm;
  auto options = test::small_segment(shm);
  options.slot_count = 1u << 17;
  const auto segment = test::must_create(options);
  test::Attached self(segment);
  ASSERT_TRUE(engine::Control(*self).set_durability(test::must_queue(*segment, "durable"), shm::Durability::kJournal));
  segment->header().journal_alive_ns.store(INT64_MAX);
  std::atomic<std::size_t> accepted{0};
  std::atomic<bool> refused{false};
  std::thread producer([&] {
    auto client = Client::open("test", {.directory = shm.path()});
    ASSERT_TRUE(client.ok());
    std::vector<Number> many(1000);
    while (client->enqueue(work, Number{0}).ok()) {
      ++accepted;
      // In batches too.
      if (client->enqueue_many(work, std::span<const Number>(many)).error) break;
      accepted += many.size();
    }
    refused = true;
  });
  constexpr std::size_t kMostAhead = 32768;
  ASSERT_TRUE(
      test::wait_until([&] { return accepted > kMostAhead / 2 && segment->header().journal_awaited.load() != 0; }));
  EXPECT_LE(accepted.load(), kMostAhead);
  // The older half is on disk: it goes on, as far again.
  shm::publish_journal(*segment, shm::journal_position(*segment));
  segment->header().journal_looks.fetch_add(1);
  ASSERT_TRUE(test::wait_until([&] { return accepted > kMostAhead; }));
  segment->header().journal_alive_ns.store(0);  // and is told when nobody writes any more
  producer.join();
  EXPECT_TRUE(refused);
  EXPECT_LE(accepted.load(), 2 * kMostAhead);
}

}  // namespace
}  // namespace stem::journal
