#include "tools/stem/table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <clocale>

namespace stem::cli {
namespace {

class TableTest : public ::testing::Test {
 protected:
  void SetUp() override { std::setlocale(LC_CTYPE, "C.UTF-8"); }
};

TEST_F(TableTest, AlignsAndLeavesNoSpaceAtLineEnds) {
  Table table({{"QUEUE"}, {"READY", Align::kRight}, {"PAUSED"}});
  table.add_row({"default", "12", "no"});
  table.add_row({"a", "12345678", ""});
  EXPECT_EQ(table.render(Style(), 0),
            "QUEUE       READY  PAUSED\n"
            "default        12  no\n"
            "a        12345678  -\n");
}

TEST_F(TableTest, CountsColumnsAndNotBytes) {
  Table table({{"NAME"}, {"N"}});
  table.add_row({"größe", "1"});
  table.add_row({"日本", "2"});
  EXPECT_EQ(table.render(Style(), 0),
            "NAME   N\n"
            "größe  1\n"
            "日本   2\n");
}

TEST_F(TableTest, ForeignTextCannotCommandTheTerminalOrBreakTheLine) {
  Table table({{"ERROR"}});
  table.add_row({"bad\n\x1b[2J\xff\u202e"});
  EXPECT_EQ(table.render(Style(), 0), "ERROR\nbad\\n\\x1b[2J\\xff\\u202e\n");
}

TEST_F(TableTest, ShrinksOnlyWhatMayShrink) {
  Table table({{"ID"}, {"ERROR", Align::kLeft, true}, {"AT"}});
  table.add_row({"0123456789", std::string(50, 'e'), "now"});
  EXPECT_EQ(table.render(Style(), 40),
            "ID          ERROR                    AT\n"
            "0123456789  eeeeeeeeeeeeeeeeeeeeee…  now\n");
  EXPECT_THAT(table.render(Style(), 10), ::testing::HasSubstr("0123456789  eeeeeee…  now"));
}

TEST_F(TableTest, StandsCloserWhereThatMakesItFit) {
  Table table({{"QUEUE"}, {"READY"}, {"LAG"}});
  table.add_row({"mail", "7", "1ms"});
  EXPECT_EQ(table.render(Style(), 17), "QUEUE  READY  LAG\nmail   7      1ms\n");
  EXPECT_EQ(table.render(Style(), 15), "QUEUE READY LAG\nmail  7     1ms\n");
  EXPECT_EQ(table.render(Style(), 14), "QUEUE  READY  LAG\nmail   7      1ms\n") << "it does not help";
}

TEST_F(TableTest, WrapsAtSpacesWithAnIndent) {
  EXPECT_EQ(wrapped("one two three", 7, 2), "one two\n  three");
  EXPECT_EQ(wrapped("", 7, 2), "");
  EXPECT_EQ(wrapped("unbreakable", 3, 2), "unbreakable");
}

}  // namespace
}  // namespace stem::cli
