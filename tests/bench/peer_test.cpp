#include "bench/peer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "bench/server_process.hpp"
#include "tests/bench/failure_of.hpp"

namespace stem::bench {
namespace {

using ::testing::HasSubstr;

std::string payload_of(std::uint64_t task, std::size_t bytes = 64) {
  std::string payload(bytes, '\0');
  write_payload(task, payload);
  return payload;
}

TEST(TaskLedger, TakesEachTaskOnce) {
  TaskLedger ledger(3, 64);
  for (const std::uint64_t task : {2, 0, 1}) ledger.mark(payload_of(task));
  EXPECT_EQ(ledger.seen(), 3u);
}

TEST(TaskLedger, RefusesWhatWasNotSent) {
  TaskLedger ledger(3, 64);
  ledger.mark(payload_of(1));
  EXPECT_EQ(failure_of([&] { ledger.mark(payload_of(1)); }), "task 1 came twice");
  EXPECT_THAT(failure_of([&] { ledger.mark(payload_of(3)); }), HasSubstr("never sent"));
  EXPECT_THAT(failure_of([&] { ledger.mark(payload_of(2, 63)); }), HasSubstr("63 bytes"));
  std::string bent = payload_of(2);
  bent[63] ^= 1;
  EXPECT_THAT(failure_of([&] { ledger.mark(bent); }), HasSubstr("other bytes"));
  EXPECT_EQ(ledger.seen(), 1u);
}

TEST(RunSides, TimesTheWorkButNotTheConnecting) {
  Work work;
  work.tasks = 1000;
  const auto side = [](double connect_ms, double work_ms) -> Side {
    return [=] {
      std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(connect_ms));
      return [=] { std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(work_ms)); };
    };
  };
  const PeerResult result = run_sides("sleeper", work, side(0, 0), side(1500, 20));
  EXPECT_EQ(result.tasks, 1000u);
  EXPECT_GE(result.seconds, 0.019);
  EXPECT_LT(result.seconds, 1.5);
  EXPECT_DOUBLE_EQ(result.tasks_per_s, 1000 / result.seconds);
}

TEST(TemporaryDirectory, GoesAwayWithWhatIsInIt) {
  std::string path;
  {
    const TemporaryDirectory directory;
    path = directory.path();
    std::ofstream(path + "/file") << "text";
    ASSERT_TRUE(std::filesystem::exists(path + "/file"));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(ServerProcess, IsGoneAfterItsOwner) {
  const TemporaryDirectory directory;
  pid_t pid = 0;
  {
    const ServerProcess server({"/bin/sleep", "1000"}, directory.path() + "/log", [] { return true; });
    pid = server.pid();
    ASSERT_EQ(kill(pid, 0), 0);
  }
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ServerProcess, IsKilledWhenItDoesNotListen) {
  const TemporaryDirectory directory;
  const std::string started = directory.path() + "/started";
  pid_t pid = 0;
  {
    const ServerProcess server({"/bin/sh", "-c", "trap '' TERM; : > " + started + "; while :; do sleep 1; done"},
                               directory.path() + "/log", [&] { return std::filesystem::exists(started); });
    pid = server.pid();
  }
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ServerProcess, SaysWhatTheServerSaidWhenItEnds) {
  const TemporaryDirectory directory;
  const std::string why = failure_of([&] {
    const ServerProcess server({"/bin/sh", "-c", "echo the port is taken; exit 1"}, directory.path() + "/log",
                               [] { return false; });
  });
  EXPECT_THAT(why, HasSubstr("it ended"));
  EXPECT_THAT(why, HasSubstr("the port is taken"));
}

// The servers are among the packages that the tests need, so their absence is a failure.
TEST(Peers, AllDoTheWorkWithNothingLeft) {
  Work work;
  work.tasks = 777;  // not a multiple of the batch
  work.cpus = {allowed_cpus().at(0), allowed_cpus().at(1)};
  for (const bool pin : {false, true}) {
    work.pin = pin;
    for (const Peer& peer : all_peers()) {
      if (peer.is_subject) continue;  // has tests of its own
      SCOPED_TRACE(peer.key);
      ASSERT_EQ(peer.missing(), "");
      const PeerResult result = peer.run(work);
      EXPECT_EQ(result.name, peer.name);
      EXPECT_EQ(result.tasks, 777u);
      EXPECT_GT(result.tasks_per_s, 0);
    }
  }
}

}  // namespace
}  // namespace stem::bench
