#include "tools/stem/schedule/schedule_file.hpp"

#include <gmock/gmock.h>

#include <random>

namespace stem::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> ids(const std::string& text) {
  const ScheduleFile file = parse_schedule_file(text, "f");
  EXPECT_THAT(file.errors, IsEmpty()) << text;
  std::vector<std::string> found;
  for (const auto& entry : file.entries) found.push_back(entry.id + " " + entry.task + " " + entry.spec.text());
  return found;
}

std::vector<std::string> errors(const std::string& text) { return parse_schedule_file(text, "f").errors; }

TEST(ScheduleFile, AllThreeShapesInBothLanguages) {
  const auto one = ElementsAre("a t every:5s");
  EXPECT_THAT(ids("- id: a\n  task: t\n  spec: every:5s\n"), one);
  EXPECT_THAT(ids("schedules:\n  - name: a\n    taskName: t\n    schedule: every:5s\n"), one);
  EXPECT_THAT(ids("schedules:\n  a: {task: t, spec: every:5s}\n"), one);
  EXPECT_THAT(ids("a:\n  task: t\n  spec: {kind: interval, every: 5s}\n"), one);
  EXPECT_THAT(ids(R"([{"id":"a","task":"t","spec":"every:5"}])"), one);
  EXPECT_THAT(ids(R"({"schedules":[{"id":"a","task":"t","spec":{"everyMs":5000}}]})"), one);
  EXPECT_THAT(ids(R"({"a":{"task":"t","spec":"every:5s"}})"), one);
  EXPECT_THAT(ids(""), IsEmpty());
  EXPECT_THAT(ids("schedules: []"), IsEmpty());
  EXPECT_THAT(ids("# nothing\n"), IsEmpty());
}

TEST(ScheduleFile, ValuesKeepTheirKinds) {
  const ScheduleFile file = parse_schedule_file(
      "- id: a\n  task: t\n  spec: every:5s\n  args: [1, -2, 1.5, true, null, 'true', \"7\", text, 0x10, {k: v}]\n",
      "f");
  ASSERT_EQ(file.entries.size(), 1u);
  EXPECT_EQ(file.entries[0].args.dump(), R"([1,-2,1.5,true,null,"true","7","text",16,{"k":"v"}])");
  const ScheduleFile json =
      parse_schedule_file(R"([{"id":"a","task":"t","spec":"every:5s","args":"\ud83d\ude00 A"}])", "f");
  ASSERT_EQ(json.entries.size(), 1u);
  EXPECT_EQ(json.entries[0].args, "\U0001F600 A");
}

TEST(ScheduleFile, MistakesHaveTheirLineAndTheNearestWord) {
  EXPECT_THAT(errors("- id: a\n  taks: t\n  spec: every:5s\n"),
              ElementsAre("f:2: unknown key \"taks\" in an entry; did you mean task?"));
  EXPECT_THAT(errors("a:\n  task: t\n  spec: every:5s\n  maxRetreis: 3\n"),
              ElementsAre("f:4: unknown key \"maxRetreis\" in an entry; did you mean maxRetries?"));
  EXPECT_THAT(errors("a:\n  task: t\n  spec:\n    kind: cron\n    expresion: '* * * * *'\n"),
              ElementsAre("f:5: unknown key \"expresion\" in a spec of kind cron; did you mean expression?"));
  EXPECT_THAT(errors("{\n \"a\": {\n  \"task\": \"t\",\n  \"sepc\": \"every:5s\"\n }\n}"),
              ElementsAre("f:4: unknown key \"sepc\" in an entry; did you mean spec?"));
  EXPECT_THAT(errors("schedules: []\nschedule: []\n"), ElementsAre(HasSubstr("f:2: unknown key \"schedule\"")));
  EXPECT_THAT(errors("a:\n  task: t\n  spec: every:5s\n  options: {priorty: 1}\n"),
              ElementsAre(HasSubstr("did you mean priority?")));
}

TEST(ScheduleFile, EveryMistakeIsNamedInOrder) {
  EXPECT_THAT(errors("z:\n  task: t\n  spec: every:0s\na:\n  task: t\n  spec: every:5s\n  priority: 12\nb: 7\n"),
              ElementsAre(HasSubstr("f:3: schedule z: \"spec\": the interval"),
                          HasSubstr("f:7: schedule a: \"priority\": wants a whole number from 0 to 9"),
                          HasSubstr("f:8: the entry \"b\" is not an object")));
  std::string many;
  for (int i = 0; i < 50; ++i) many += "- {id: a" + std::to_string(i) + "}\n";
  EXPECT_EQ(errors(many).size(), 21u);
}

TEST(ScheduleFile, WhatCannotBeRead) {
  EXPECT_THAT(errors("a: [1, 2\nb: 3\n"), ElementsAre(HasSubstr("not YAML")));
  EXPECT_THAT(errors("a: {task: t, spec: every:5s}\na: {task: t, spec: every:5s}\n"),
              ElementsAre("f:2: the key \"a\" stands twice"));
  EXPECT_THAT(errors("- {id: a, task: t, spec: every:5s}\n- {id: a, task: t, spec: every:5s}\n"),
              ElementsAre("f:2: the id \"a\" stands twice"));
  EXPECT_THAT(errors("just words"), ElementsAre(HasSubstr("f:1: a schedule file holds")));
  EXPECT_THAT(errors("a: &x [*x]"), ElementsAre(HasSubstr("f:1:")));
  EXPECT_THAT(
      errors("a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
             "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e]\n"),
      ElementsAre(HasSubstr("more than 200000 values")));
  EXPECT_EQ(errors(std::string(5000, '[')).size(), 1u);
  EXPECT_EQ(errors("a: " + std::string(5000, '{')).size(), 1u);
  EXPECT_THAT(errors("a: {task: t, spec: every:5s, id: b}"), ElementsAre(HasSubstr("another id")));
}

TEST(ScheduleFile, MutatedFilesAreTakenOrRefused) {
  const std::string good =
      "schedules:\n  - id: a\n    task: t\n    spec: {kind: solar, event: noon, latitude: 1, longitude: 2}\n"
      "    args: [1, {b: 'c'}]\n    retryPolicy: {kind: linear, baseMs: 5}\n  - {id: b, task: t, spec: '1 2 * * *'}\n";
  const auto seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  for (int i = 0; i < 5000; ++i) {
    std::string text = good;
    for (unsigned changes = 1 + random() % 4; changes > 0; --changes) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
        case 0: text[at] = static_cast<char>(random() % 256); break;
        case 1: text.insert(at, 1, ":-{}[]&*!|>'\"%@`#\n\t "[random() % 21]); break;
        default: text.erase(at, 1 + random() % 5); break;
      }
      if (text.empty()) text = "-";
    }
    for (const std::string& error : errors(text)) ASSERT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

}  // namespace
}  // namespace stem::cli
