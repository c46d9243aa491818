// What every command has in common: help, errors, exit codes, colour.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "run_stem.hpp"
#include "stem/version.hpp"

namespace stem::cli_test {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// The whole table, as the program itself gives it to the shells.
void collect_commands(std::vector<std::string> path, std::vector<std::vector<std::string>>& found) {
  std::vector<std::string> args{"completion", "next", "--"};
  args.insert(args.end(), path.begin(), path.end());
  args.emplace_back("");
  const Outcome outcome = run_stem(args);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  bool any = false;
  for (const std::string& line : lines_of(outcome.out)) {
    const std::size_t tab = line.find('\t');
    // Choices and files belong to a command's arguments; words have help.
    if (tab == std::string::npos) continue;
    any = true;
    auto longer = path;
    longer.push_back(line.substr(0, tab));
    collect_commands(longer, found);
  }
  if (!any && !path.empty()) found.push_back(path);
}

TEST(Frame, OverviewNamesTheCommandsAndTheExitCodes) {
  for (const auto& args : std::vector<std::vector<std::string>>{{}, {"--help"}, {"-h"}, {"help"}}) {
    const Outcome outcome = run_stem(args);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.err, IsEmpty());
    for (const char* word : {"doctor", "capacity", "config", "completion", "version", "--namespace", "70 failed"}) {
      EXPECT_THAT(outcome.out, HasSubstr(word));
    }
  }
}

TEST(Frame, EveryCommandHasHelpThatNamesIt) {
  std::vector<std::vector<std::string>> commands;
  collect_commands({}, commands);
  ASSERT_GE(commands.size(), 7u);
  for (const auto& path : commands) {
    std::string name;
    for (const std::string& word : path) name += " " + word;
    auto args = path;
    args.emplace_back("--help");
    const Outcome outcome = run_stem(args);
    EXPECT_EQ(outcome.exit_code, 0) << name << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("usage: stem" + name + " "));
    EXPECT_THAT(outcome.out, HasSubstr("--namespace NAME"));
    auto asked_first = path;
    asked_first.insert(asked_first.begin(), "help");
    EXPECT_EQ(run_stem(asked_first).out, outcome.out) << name;
  }
}

TEST(Frame, EveryCommandRefusesAnUnknownFlagWithoutDoingAnything) {
  std::vector<std::vector<std::string>> commands;
  collect_commands({}, commands);
  for (auto args : commands) {
    args.emplace_back("--namespaec");
    const Outcome outcome = run_stem(args);
    EXPECT_EQ(outcome.exit_code, 2) << args.front();
    EXPECT_THAT(outcome.out, IsEmpty());
    EXPECT_THAT(outcome.err, HasSubstr("unknown flag --namespaec; did you mean --namespace?"));
  }
}

TEST(Frame, VersionIsTheLibrarys) {
  const std::string line = "stem " + std::string(kVersion) + "\n";
  EXPECT_EQ(run_stem({"--version"}).out, line);
  EXPECT_EQ(run_stem({"version"}).out, line);
  const auto json = nlohmann::json::parse(run_stem({"version", "--json"}).out);
  EXPECT_EQ(json["version"], kVersion);
}

TEST(Frame, UnknownCommandNamesTheNearest) {
  const Outcome typo = run_stem({"docter"});
  EXPECT_EQ(typo.exit_code, 2);
  EXPECT_THAT(typo.out, IsEmpty());
  EXPECT_THAT(typo.err, HasSubstr("unknown command docter; did you mean doctor?"));
  const Outcome nested = run_stem({"config", "shwo"});
  EXPECT_EQ(nested.exit_code, 2);
  EXPECT_THAT(nested.err, HasSubstr("config has no command shwo; did you mean show?"));
  const Outcome last_word = run_stem({"show"});
  EXPECT_EQ(last_word.exit_code, 2);
  EXPECT_THAT(last_word.err, HasSubstr("show?"));
  const Outcome far = run_stem({"qqqqqqqq"});
  EXPECT_EQ(far.exit_code, 2);
  EXPECT_THAT(far.err, Not(HasSubstr("did you mean")));
}

TEST(Frame, AnUnfinishedCommandListsWhatCanFollow) {
  const Outcome outcome = run_stem({"config"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.out, IsEmpty());
  EXPECT_THAT(outcome.err, HasSubstr("config show"));
  EXPECT_EQ(run_stem({"config", "--help"}).exit_code, 0);
}

TEST(Frame, MisspeltFlagIsTheNewsNotTheMissingArgument) {
  EXPECT_THAT(run_stem({"worker", "resize"}).err, HasSubstr("COUNT is missing"));
  const Outcome outcome = run_stem({"worker", "resize", "--timout=5s"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("unknown flag --timout; did you mean --timeout?"));
}

TEST(Frame, FlagErrorsSayWhatIsWanted) {
  EXPECT_THAT(run_stem({"capacity", "--rate"}).err, HasSubstr("--rate wants a value: RATE"));
  EXPECT_THAT(run_stem({"--namespace"}).err, HasSubstr("--namespace wants a value"));
  EXPECT_THAT(run_stem({"--jsn"}).err, HasSubstr("unknown flag --jsn"));
  EXPECT_THAT(run_stem({"version", "extra"}).err, HasSubstr("no place for the argument 'extra'"));
  for (const auto& args : std::vector<std::vector<std::string>>{{"capacity", "--rate"},
                                                                {"--namespace"},
                                                                {"--jsn"},
                                                                {"version", "extra"},
                                                                {"version", "--namespace", ""},
                                                                {"version", "--namespace", "a/b"},
                                                                {"version", "--namespace", ".."},
                                                                {""},
                                                                {"config", ""},
                                                                {"config show"}}) {
    EXPECT_EQ(run_stem(args).exit_code, 2) << ::testing::PrintToString(args);
  }
}

TEST(Frame, CommonFlagsMayStandBeforeTheCommand) {
  const Outcome outcome = run_stem({"--namespace", "early", "--json", "config", "show"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["settings"][0]["value"], "early");
}

TEST(Frame, OutputThatDidNotArriveIsAFailure) {
  const Outcome outcome = run_stem({"version"}, {.stdout_path = "/dev/full"});
  EXPECT_EQ(outcome.exit_code, 70);
  EXPECT_THAT(outcome.err, HasSubstr("stem:"));
}

TEST(Frame, ColourOnlyOnATerminalAndNeverAgainstTheWish) {
  EXPECT_THAT(run_stem({"--help"}).out, Not(HasSubstr("\x1b[")));
  EXPECT_THAT(run_stem_on_terminal({"--help"}).out, HasSubstr("\x1b["));
  EXPECT_THAT(run_stem_on_terminal({"--help"}, "", {.environment = {{"NO_COLOR", "1"}}}).out, Not(HasSubstr("\x1b[")));
  EXPECT_THAT(run_stem_on_terminal({"--help"}, "", {.environment = {{"TERM", "dumb"}}}).out, Not(HasSubstr("\x1b[")));
  EXPECT_THAT(run_stem_on_terminal({"config", "show", "--json"}).out, Not(HasSubstr("\x1b[")));
}

TEST(Frame, TerminalCommandsInAnArgumentAreNotEchoed) {
  for (const auto& args : std::vector<std::vector<std::string>>{{"\x1b[2J"},
                                                                {"version", "\x1b]0;x\x07"},
                                                                {"capacity", "--rate", "\x1b[31m"},
                                                                {"version", "--config", "/\x1b[2J"}}) {
    const Outcome outcome = run_stem(args);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, Not(HasSubstr("\x1b")));
  }
}

// Whatever is typed, there is an answer with one of the documented codes, in bounded time.
TEST(Frame, RandomWordsGetADocumentedExitCode) {
  const std::vector<std::string> words{"version",
                                       "capacity",
                                       "config",
                                       "show",
                                       "completion",
                                       "next",
                                       "bash",
                                       "--",
                                       "-",
                                       "--json",
                                       "--rate",
                                       "5/s",
                                       "--duration",
                                       "1s",
                                       "--help",
                                       "-h",
                                       "--yes",
                                       "",
                                       "--=",
                                       "--rate=",
                                       "=",
                                       "\xff\xfe",
                                       "--json=",
                                       "-hj",
                                       "help",
                                       "a b",
                                       "--config",
                                       "/",
                                       "--backlog",
                                       "9999999999999999999999",
                                       "\n",
                                       "-\xff",
                                       "--namespace",
                                       "x",
                                       "99999999999999/s",
                                       "106751d"};
  std::mt19937_64 random(2026);
  for (int i = 0; i < 150; ++i) {
    std::vector<std::string> args;
    // The first word keeps to commands that touch nothing.
    args.push_back(words[random() % 5]);
    for (auto left = random() % 7; left > 0; --left) args.push_back(words[random() % words.size()]);
    // Where no segment lies, whatever else works on this host.
    const Outcome outcome = run_stem(args, {.environment = {{"STEM_SHM_DIRECTORY", "/dev/shm/stem-test-of-nobody"}}});
    // 1: there is no segment to measure in.
    EXPECT_THAT(outcome.exit_code, AnyOf(0, 1, 2)) << ::testing::PrintToString(args) << outcome.err;
    EXPECT_THAT(outcome.err, Not(HasSubstr("unexpected error"))) << ::testing::PrintToString(args);
    if (outcome.exit_code == 2) {
      EXPECT_FALSE(outcome.err.empty()) << ::testing::PrintToString(args);
    }
  }
}

}  // namespace
}  // namespace stem::cli_test
