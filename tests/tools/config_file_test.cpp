#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tools/stem/config.hpp"

namespace stem::cli {
namespace {

using ::testing::HasSubstr;

class ConfigFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/stem-config-XXXXXX";
    const int file = mkstemp(pattern);
    ASSERT_GE(file, 0);
    close(file);
    path_ = pattern;
  }
  void TearDown() override { std::remove(path_.c_str()); }

  Result<ConfigValues> read(const std::string& content) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << content;
    return read_config_file(path_);
  }

 private:
  std::string path_;
};

TEST_F(ConfigFileTest, LettersOfAllCountriesInCommentsAndTexts) {
  const auto values = read("# über uns — 設定\nrouting_config = \"/etc/straßen/設定.yaml\" # où\r\n[worker]\n");
  ASSERT_TRUE(values.ok()) << values.error().message;
  EXPECT_EQ(values->at("routing_config").text, "/etc/straßen/設定.yaml");
}

// What the library takes for impossible; see hardened_toml.hpp.
TEST_F(ConfigFileTest, ImpossibleInputIsRefused) {
  for (const char* content : {"[ =", "[[ =", "[=]", "2020-01-01é", "é = 1", "a é", "[é", "ü", "\xc2\xa0"}) {
    EXPECT_FALSE(read(content).ok()) << content;
  }
  EXPECT_FALSE(read(std::string(100'000, '[')).ok()) << "nesting without end";
  EXPECT_THAT(read(std::string(2'000'000, '#')).error().message, HasSubstr("larger than 1 MiB"));
}

TEST_F(ConfigFileTest, RandomFilesAreReadOrRefusedWithASentence) {
  const std::vector<std::string> pieces{"namespace",  "worker",
                                        "queues",     "=",
                                        "\"a\"",      "[",
                                        "]",          "[[",
                                        "]]",         ".",
                                        "1",          "\"",
                                        "'",          "\n",
                                        "#",          "true",
                                        "{",          "}",
                                        ",",          "\"\"\"",
                                        "\\u",        "default_max_retries",
                                        "2020-01-01", "inf",
                                        "-1",         std::string(1, '\0'),
                                        "\xff",       "heartbeat_interval",
                                        "\"5s\"",     "0x",
                                        "1e",         "T12:00",
                                        "'''",        "\xef\xbb\xbf",
                                        "_",          "+",
                                        "\r",         " ",
                                        "\xc3\xa9",   "nan"};
  std::mt19937_64 random(3);
  int accepted = 0;
  constexpr int kFiles = 3'000;
  for (int i = 0; i < kFiles; ++i) {
    std::string content;
    for (auto left = random() % 14; left > 0; --left) {
      content += pieces[random() % pieces.size()];
      if (random() % 2 == 0) content += ' ';
    }
    const auto values = read(content);
    accepted += values.ok() ? 1 : 0;
    if (!values.ok()) {
      EXPECT_THAT(values.error().message, HasSubstr("stem-config-")) << content;
    }
  }
  // Neither kind may be absent, or the pieces are no test of the other.
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, kFiles);
}

}  // namespace
}  // namespace stem::cli
