// The journal's process of a supervisor: who may end it, and what it leaves.
#include "worker/journal_process.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>

#include "base/clock.hpp"
#include "engine/control.hpp"
#include "journal/disk_store.hpp"
#include "journal/live_set.hpp"
#include "journal/serve.hpp"
#include "shm/journal_line.hpp"
#include "tests/journal/disk_directory.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"
#include "tests/support/wait.hpp"

namespace stem::worker {
namespace {

// Tasks that the journal says are alive.
std::uint64_t alive_in(const std::string& directory) {
  const auto store = journal::open_disk_store(directory);
  EXPECT_TRUE(store.ok());
  journal::LiveSet live;
  std::vector<journal::Contents> contents;
  EXPECT_TRUE(
      journal::read_journal(
          **store, journal::OnDamage::kStop, [&live](const journal::Record& r) { return live.apply(r); }, &contents)
          .ok());
  return live.alive();
}

// A signal that is sent to all processes of a host at once is not the supervisor's: workers acknowledge after it.
TEST(JournalProcess, EndsAtItsSupervisorsWordAloneAndWritesTheRest) {
  const test::DiskDirectory disk;
  const test::ScratchDirectory shm;
  ASSERT_EQ(::setenv("STEM_JOURNAL_DIRECTORY", disk.path().c_str(), 1), 0);
  const auto segment = test::must_create(test::small_segment(shm));
  test::Attached self(segment);
  const std::uint32_t queue = test::must_queue(*segment, "durable");
  const std::uint32_t task = test::must_task(*segment, "work");
  ASSERT_TRUE(engine::Control(*self).set_durability(queue, shm::Durability::kJournal));
  const auto runs = [&] { return shm::journal_runs(*segment, base::monotonic_ns()); };
  const auto put = [&] {
    test::Numbered n(queue, task, 1);
    ASSERT_EQ(self->enqueue(n.spec, base::monotonic_ns()).status, engine::EnqueueStatus::kOk);
  };
  for (int round = 1; round <= 3; ++round) {
    {
      JournalProcess process(*segment);
      (void)process.step(base::monotonic_ns());
      ASSERT_TRUE(test::wait_until(runs));
      const std::uint64_t writer = segment->header().journal_writer.load();
      const pid_t pid = static_cast<pid_t>(segment->row(static_cast<std::uint32_t>(writer & 0xfff) - 1).pid);
      // From another process, as systemd's would be.
      ASSERT_EQ(std::system(("kill -TERM " + std::to_string(pid) + "; kill -USR1 " + std::to_string(pid)).c_str()), 0);
      // Each round wants the writer to come by once more; the signals were there before the first.
      for (int i = 0; i < 4; ++i) {
        put();
        const std::uint64_t position = shm::journal_position(*segment);
        ASSERT_TRUE(
            test::wait_until([&] { return shm::await_journal(*segment, position, base::monotonic_ns() + 1'000'000); }));
      }
      for (int i = 0; i < 16; ++i) put();  // nobody waits for these
      EXPECT_EQ(segment->header().journal_writer.load(), writer);
    }
    const auto directory = journal::directory_of({.name_space = "test", .shm_directory = shm.path()});
    ASSERT_TRUE(directory.ok());
    EXPECT_EQ(alive_in(*directory), 20u * static_cast<std::uint64_t>(round));
  }
  ASSERT_EQ(::unsetenv("STEM_JOURNAL_DIRECTORY"), 0);
}

}  // namespace
}  // namespace stem::worker
