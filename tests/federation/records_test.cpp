#include "federation/records.hpp"

#include <gtest/gtest.h>

#include "federation/iso_time.hpp"
#include "tests/federation/fixtures.hpp"

namespace stem::federation {
namespace {

template <class Record>
std::string json_of(const Record& record) {
  std::string out;
  append_json(out, record);
  return out;
}

std::string one_line(const std::string& fixture) {
  std::string text = test::fixture_text(fixture);
  text.pop_back();
  return text;
}

TEST(DeadLetters, ComeBackByteForByte) {
  for (const std::string& name : test::fixture_names("dead_")) {
    DeadLetter letter;
    const auto decoded = decode_json(one_line(name), letter);
    ASSERT_TRUE(decoded.ok()) << name << ": " << decoded.error().message;
    EXPECT_EQ(json_of(letter), one_line(name));
  }
}

TEST(DeadLetters, AreRead) {
  DeadLetter letter;
  ASSERT_TRUE(decode_json(one_line("dead_exhausted.json"), letter).ok());
  EXPECT_EQ(letter.envelope.id, "dl-1");
  EXPECT_EQ(letter.envelope.attempt, 3);
  EXPECT_EQ(letter.reason, "max-retries-exhausted");
  EXPECT_EQ(letter.meta, R"({"error":"card declined\nline two"})");
  EXPECT_EQ(iso_time(letter.dead_at_us), "2026-01-31T12:10:00.000001Z");
  std::string direct;
  append_dead_letter_json(direct, letter.envelope.view(), letter.reason, letter.meta, letter.dead_at_us);
  EXPECT_EQ(direct, one_line("dead_exhausted.json"));
}

TEST(DeadLetters, AreRefusedWithAReason) {
  const auto refusal = [](const std::string& text) {
    DeadLetter letter;
    const auto decoded = decode_json(text, letter);
    return decoded.ok() ? "accepted" : decoded.error().message;
  };
  EXPECT_EQ(refusal(R"({"reason":"x","deadAt":"2026-01-31T12:10:00Z"})"), "field 'envelope': is missing");
  EXPECT_EQ(refusal(R"({"envelope":{"name":"n"},"deadAt":"2026-01-31T12:10:00Z"})"),
            "field 'envelope': field 'id': is missing");
  EXPECT_EQ(refusal(R"({"envelope":[],"deadAt":"2026-01-31T12:10:00Z"})"), "field 'envelope': not a JSON object");
  EXPECT_EQ(refusal(R"({"envelope":{"id":"i","name":"n"}})"), "field 'deadAt': is missing");
  EXPECT_EQ(refusal(R"({"envelope":{"id":"i","name":"n"},"deadAt":"2026-01-31T12:10:00Z","meta":"no"})"),
            "field 'meta': is not a JSON object");
}

TEST(TaskStatuses, ComeBackByteForByte) {
  for (const std::string& name : test::fixture_names("status_")) {
    TaskStatus status;
    const auto decoded = decode_json(one_line(name), status);
    ASSERT_TRUE(decoded.ok()) << name << ": " << decoded.error().message;
    EXPECT_EQ(json_of(status), one_line(name));
  }
}

TEST(TaskStatuses, ResultsOfAnyBytes) {
  for (const std::string& bytes : {std::string("\x82\xa1\xff\0x", 5), std::string("plain text"), std::string()}) {
    TaskStatus status{.id = "t", .state = "succeeded", .payload_bytes = bytes, .attempt = 1};
    TaskStatus back;
    const auto decoded = decode_json(json_of(status), back);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(back, status) << json_of(status);
  }
}

}  // namespace
}  // namespace stem::federation
