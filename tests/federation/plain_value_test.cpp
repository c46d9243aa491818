#include "federation/plain_value.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/random.hpp"
#include "tests/federation/packed.hpp"

namespace stem::federation {
namespace {

using test::packed;

using nlohmann::ordered_json;

std::uint64_t below(base::Random& random, std::uint64_t n) { return random.next() % n; }

ordered_json random_text(base::Random& random) {
  constexpr std::size_t kSizes[] = {0, 1, 5, 31, 32, 255, 256, 65'535, 65'536};
  const std::size_t size = kSizes[below(random, below(random, 8) == 0 ? std::size(kSizes) : 4)];
  std::string text(size, 'x');
  for (char& c : text) c = static_cast<char>(' ' + below(random, 95));
  if (below(random, 8) == 0) text += "\xc3\xbc";
  if (below(random, 8) == 0) text += '\n';
  return text;
}

ordered_json random_number(base::Random& random) {
  const std::uint64_t bits = random.next() >> below(random, 64);
  if (below(random, 10) == 0) return static_cast<double>(bits) / 8;
  if (below(random, 2) == 0) return bits;
  return -static_cast<std::int64_t>(bits >> 1);
}

ordered_json random_value(base::Random& random, int depth) {
  switch (below(random, depth < 10 ? 8 : 5)) {
    case 0: return nullptr;
    case 1: return below(random, 2) == 0;
    case 2: return random_text(random);
    case 3:
    case 4: return random_number(random);
    case 5: {
      ordered_json list = ordered_json::array();
      for (std::uint64_t n = below(random, 18); n > 0; --n) list.push_back(random_value(random, depth + 2));
      return list;
    }
    default: {
      ordered_json object = ordered_json::object();
      for (std::uint64_t n = below(random, 5); n > 0; --n)
        object["k" + std::to_string(below(random, 40))] = random_value(random, depth + 1);
      return object;
    }
  }
}

// What the library says, or nothing.
void expect_agreement(const std::string& text, const std::string& bytes, int& answers) {
  const auto there = plain_message_pack(text);
  const ordered_json read = ordered_json::parse(text, nullptr, false);
  if (there) {
    ASSERT_FALSE(read.is_discarded()) << text;
    ASSERT_EQ(*there, packed(read)) << text;
    ++answers;
  }
  std::string back;
  const PlainValue kind = plain_json(bytes, back);
  const ordered_json unpacked = ordered_json::from_msgpack(bytes, true, false);
  if (kind == PlainValue::kPlain) {
    ASSERT_FALSE(unpacked.is_discarded()) << back;
    ASSERT_EQ(back, unpacked.dump());
    ASSERT_EQ(packed(ordered_json::parse(back)), bytes);
    ++answers;
  } else if (kind == PlainValue::kNotMessagePack) {
    ASSERT_TRUE(unpacked.is_discarded()) << unpacked.dump();
    ++answers;
  }
}

TEST(PlainValue, SaysWhatTheLibrarySaysOrNothing) {
  base::Random random(7);
  int answers = 0;
  for (int i = 0; i < 3000; ++i) {
    const ordered_json value = random_value(random, 0);
    ASSERT_NO_FATAL_FAILURE(
        expect_agreement(value.dump(static_cast<int>(below(random, 3)) - 1), packed(value), answers));
  }
  EXPECT_GT(answers, 500);
}

TEST(PlainValue, BrokenTextAndBytesAreTheLibrarysToo) {
  base::Random random(8);
  int answers = 0;
  for (int i = 0; i < 15'000; ++i) {
    const ordered_json value = random_value(random, 6);
    std::string text = value.dump(), bytes = packed(value);
    for (std::string* broken : {&text, &bytes}) {
      const std::size_t at = below(random, broken->size());
      switch (below(random, 3)) {
        case 0: (*broken)[at] = static_cast<char>(random.next()); break;
        case 1: broken->erase(at, 1 + below(random, 3)); break;
        default: broken->insert(at, 1, "{}[],:\"-0e.t\\ "[below(random, 15)]); break;
      }
    }
    ASSERT_NO_FATAL_FAILURE(expect_agreement(text, bytes, answers));
  }
  EXPECT_GT(answers, 500);
}

TEST(PlainValue, AnswersForWhatTasksCarry) {
  const std::string text = R"({"n":123456,"name":"a.jpg","sizes":[64,-1,300],"nested":{"ok":true,"none":null}})";
  const auto bytes = plain_message_pack(text);
  ASSERT_TRUE(bytes);
  std::string json;
  EXPECT_EQ(plain_json(*bytes, json), PlainValue::kPlain);
  EXPECT_EQ(json, text);
}

// The library takes ten times as long to say so.
TEST(PlainValue, TellsBytesThatAreNoMessagePackApart) {
  std::string json;
  for (const std::string_view bytes :
       {std::string_view("\x07\0\0\0\0\0\0\0xxxxxxxx", 16), std::string_view("plain text"),
        std::string_view("{\"n\":1}"), std::string_view(), std::string_view("\x82\xa1n\x01", 4),
        std::string_view("\x81xx"), std::string_view("\xa5xx"), std::string_view("\xc1"),
        std::string_view("\xcd\x01", 2), std::string_view("\xa1\0x", 3), std::string_view("\xdc\x00\x01\x01x", 5)})
    EXPECT_EQ(plain_json(bytes, json), PlainValue::kNotMessagePack) << bytes;
  for (const std::string_view bytes : {std::string_view("\xc4\x01x"), std::string_view("\xa1\xff")})
    EXPECT_EQ(plain_json(bytes, json), PlainValue::kOther) << bytes;
}

TEST(PlainValue, LeavesWhatIsTwofoldToTheLibrary) {
  EXPECT_FALSE(plain_message_pack(R"({"n":1,"n":2})"));
  std::string json;
  EXPECT_EQ(plain_json("\x82\xa1n\x01\xa1n\x02", json), PlainValue::kOther);
  for (const char* text : {"-0", "01", "1.0", "1e3", "", "{", "{\"a\"}", "{\"a\":1,}", "[1,]", "[1 2]", "nul", "\"a",
                           "18446744073709551616"})
    EXPECT_FALSE(plain_message_pack(text)) << text;
}

}  // namespace
}  // namespace stem::federation
