#include "base/log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace stem::log {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

// What `body` wrote to stderr, line by line.
template <class Body>
std::vector<std::string> lines_of(Body body) {
  ::testing::internal::CaptureStderr();
  body();
  std::istringstream text(::testing::internal::GetCapturedStderr());
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

TEST(Log, PrettyLineHasTimeLevelMessageAndFields) {
  configure({Level::kInfo, Format::kPretty});
  const auto lines = lines_of([] {
    info("worker ready", {{"worker", 3}, {"name", "a b"}, {"share", 0.5}, {"ok", true}});
  });
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], MatchesRegex("[0-9][0-9]:[0-9][0-9]:[0-9][0-9][.][0-9]+ info  worker ready  "
                                     "worker=3 name=\"a b\" share=0.5 ok=true"));
}

TEST(Log, JsonLineIsOneObjectWithTypedFields) {
  configure({Level::kDebug, Format::kJson});
  const auto lines = lines_of([] {
    debug("quote \" and\nnewline", {{"big", std::numeric_limits<std::uint64_t>::max()}, {"low", -5}, {"bad", "\xff"}});
    warn("not a number", {{"nan", std::numeric_limits<double>::quiet_NaN()}});
  });
  ASSERT_EQ(lines.size(), 2u);
  const auto first = nlohmann::json::parse(lines[0]);
  EXPECT_EQ(first["message"], "quote \" and\nnewline");
  EXPECT_EQ(first["level"], "debug");
  EXPECT_EQ(first["pid"], getpid());
  EXPECT_EQ(first["big"], std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(first["low"], -5);
  EXPECT_THAT(first["time"].get<std::string>(), MatchesRegex("[0-9]+-[0-9]+-[0-9]+T[0-9]+:[0-9]+:[0-9.]+Z"));
  const auto second = nlohmann::json::parse(lines[1]);
  EXPECT_EQ(second["level"], "warn");
  EXPECT_TRUE(second["nan"].is_null());
}

TEST(Log, LevelHoldsBackWhatIsBelowIt) {
  configure({Level::kError, Format::kPretty});
  const auto lines = lines_of([] {
    info("quiet");
    error("loud");
  });
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], HasSubstr("error loud"));
  configure({Level::kOff, Format::kPretty});
  EXPECT_TRUE(lines_of([] { error("nothing at all"); }).empty());
}

TEST(Log, TerminalCommandsInTextAreNotPassedOn) {
  configure({Level::kInfo, Format::kPretty});
  const auto lines = lines_of([] {
    info("bad \x1b[2J\nforged line", {{"error",
                                       "\xc2\x9b"
                                       "31m"}});
  });
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], Not(HasSubstr("\x1b")));
  EXPECT_THAT(lines[0], Not(HasSubstr("\xc2\x9b")));
}

TEST(Log, EnvironmentIsReadAndRefusedByName) {
  ::setenv("STEM_LOG", "warn", 1);
  ::setenv("STEM_LOG_FORMAT", "json", 1);
  auto settings = settings_from_environment();
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->level, Level::kWarn);
  EXPECT_EQ(settings->format, Format::kJson);
  ::setenv("STEM_LOG", "loud", 1);
  settings = settings_from_environment();
  ASSERT_FALSE(settings.ok());
  EXPECT_THAT(settings.error().message, HasSubstr("STEM_LOG: \"loud\" is not a log level"));
  ::unsetenv("STEM_LOG");
  ::unsetenv("STEM_LOG_FORMAT");
}

// The child of a fork made while other threads log must not find the sink locked.
TEST(Log, ChildLogsAfterForkFromABusyParent) {
  configure({Level::kInfo, Format::kJson});
  ::testing::internal::CaptureStderr();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop.load()) info("parent");
    });
  }
  int good = 0;
  constexpr int kForks = 50;
  for (int i = 0; i < kForks; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);  // a child that hangs dies of it and fails the count
      info("child");
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) ++good;
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, kForks);
  std::istringstream text(::testing::internal::GetCapturedStderr());
  int children = 0;
  for (std::string line; std::getline(text, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, false);
    ASSERT_FALSE(object.is_discarded()) << "torn line: " << line;
    if (object["message"] == "child") ++children;
  }
  EXPECT_EQ(children, kForks);
}

}  // namespace
}  // namespace stem::log
