// Completion as the shells ask for it, and as bash, which every host has, really does it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "run_stem.hpp"

namespace stem::cli_test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::vector<std::string> split(const std::string& text, char separator) {
  std::istringstream in(text);
  std::vector<std::string> parts;
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

// The candidates without their help.
std::vector<std::string> next(std::vector<std::string> words) {
  words.insert(words.begin(), {"completion", "next", "--"});
  const Outcome outcome = run_stem(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  std::vector<std::string> found;
  for (const std::string& line : split(outcome.out, '\n')) found.push_back(line.substr(0, line.find('\t')));
  return found;
}

// What bash puts into COMPREPLY for these words, the last being typed.
std::vector<std::string> bash(const std::vector<std::string>& words, const std::string& directory) {
  std::string script = "source <(stem completion bash)\nCOMP_WORDS=(stem";
  for (const std::string& word : words) script += " '" + word + "'";
  script += ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_stem\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n";
  const Outcome outcome =
      run_program({"/bin/bash", "--norc", "-c", script}, {.environment = {}, .directory = directory});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, IsEmpty());
  auto found = split(outcome.out, '\n');
  if (found == std::vector<std::string>{""}) found.clear();
  return found;
}

TEST(Completion, OffersCommandsThenFlagsThenValues) {
  EXPECT_THAT(next({""}), Contains("doctor"));
  EXPECT_THAT(next({"doc"}), ElementsAre("doctor"));
  EXPECT_THAT(next({"config", ""}), ElementsAre("show"));
  EXPECT_THAT(next({"help", "doc"}), ElementsAre("doctor"));
  EXPECT_THAT(next({"capacity", "--ra"}), ElementsAre("--rate"));
  EXPECT_THAT(next({"capacity", "--rate", "5/s", "--"}), Not(Contains("--rate")));
  EXPECT_THAT(next({"capacity", "--rate", ""}), IsEmpty());
  EXPECT_THAT(next({"capacity", "--config", ""}), ElementsAre(":files"));
  EXPECT_THAT(next({"capacity", "--config="}), ElementsAre(":files"));
  EXPECT_THAT(next({"--namespace", "x", "doc"}), ElementsAre("doctor"));
  EXPECT_THAT(next({"--ver"}), ElementsAre("--version"));
  EXPECT_THAT(next({"nosuch", ""}), IsEmpty());
  EXPECT_THAT(next({"capacity", "--", "--ra"}), IsEmpty());
}

TEST(Completion, BashCompletesCommandsFlagsAndFiles) {
  const TemporaryDirectory directory;
  directory.write("with space.toml", "");
  directory.write("plain.toml", "");
  const auto in_bash = [&](const std::vector<std::string>& words) { return bash(words, directory.path()); };
  EXPECT_THAT(in_bash({"doc"}), ElementsAre("doctor"));
  EXPECT_THAT(in_bash({"config", ""}), ElementsAre("show"));
  EXPECT_THAT(in_bash({"capacity", "--du"}), ElementsAre("--duration"));
  EXPECT_THAT(in_bash({"capacity", "--rate", ""}), IsEmpty());
  EXPECT_THAT(in_bash({"doctor", "--config", "pl"}), ElementsAre("plain.toml"));
  EXPECT_THAT(in_bash({"doctor", "--config", "with"}), ElementsAre("with space.toml"));
  // as bash splits --config=pl
  EXPECT_THAT(in_bash({"doctor", "--config", "=", "pl"}), ElementsAre("plain.toml"));
  EXPECT_THAT(in_bash({"doctor", "--config", "="}), Contains("plain.toml"));
}

TEST(Completion, EveryShellHasAScriptThatAsksTheProgram) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Outcome outcome = run_stem({"completion", shell});
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("completion next --"));
  }
  const Outcome unknown = run_stem({"completion", "tcsh"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("completion has no command tcsh"));
}

}  // namespace
}  // namespace stem::cli_test
