// Codecs, and JSON as people type it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "stem/json.hpp"
#include "stem/json_payload.hpp"

namespace stem::api_tests {
namespace {

struct Small {
  int a;
  char b;
};
struct Same {
  int a;
  char b;
};
struct Named {
  std::string name;
  std::vector<int> numbers;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Named, name, numbers)
struct Temperature {
  double celsius;
};
struct Charge {
  int order, cents;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Charge, order, cents)

}  // namespace
}  // namespace stem::api_tests

template <>
struct stem::Codec<stem::api_tests::Temperature> {
  static constexpr bool kInPlace = false;
  static std::string text(const stem::api_tests::Temperature& t) { return std::to_string(t.celsius) + " C"; }
  struct Owned {
    std::string bytes;
    operator stem::BytesView() const { return std::as_bytes(std::span(bytes)); }
  };
  static Owned encode(const stem::api_tests::Temperature& t) { return {text(t)}; }
  static stem::Result<stem::api_tests::Temperature> decode(stem::BytesView bytes) {
    return stem::api_tests::Temperature{
        std::stod(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()))};
  }
};

namespace stem::api_tests {
namespace {

BytesView view(const std::string& s) { return std::as_bytes(std::span(s)); }
nlohmann::json shown(const std::string& json_text) { return payload_to_json(view(*json_to_payload(json_text))); }

TEST(Codec, AnotherTypeOfTheSameShapeIsRefused) {
  const auto payload = Codec<Small>::encode({7, 'x'});
  EXPECT_EQ(Codec<Small>::decode(payload)->a, 7);
  const auto refused = Codec<Same>::decode(payload);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kInvalidArgument);
  EXPECT_FALSE(Codec<Small>::decode(BytesView(payload).first(9)).ok());
  EXPECT_FALSE(Codec<Small>::decode({}).ok());
}

TEST(Codec, NumbersFromACommandLineFitOrAreRefused) {
  EXPECT_EQ(*Codec<int>::decode(view(*json_to_payload("-5"))), -5);
  EXPECT_EQ(*Codec<std::uint8_t>::decode(view(*json_to_payload("200"))), 200);
  EXPECT_FALSE(Codec<std::uint8_t>::decode(view(*json_to_payload("300"))).ok());
  EXPECT_FALSE(Codec<unsigned>::decode(view(*json_to_payload("-1"))).ok());
  EXPECT_FALSE(Codec<int>::decode(view(*json_to_payload("1.5"))).ok());
  EXPECT_EQ(*Codec<double>::decode(view(*json_to_payload("1.5"))), 1.5);
  EXPECT_EQ(*Codec<double>::decode(view(*json_to_payload("3"))), 3.0);
  EXPECT_EQ(*Codec<bool>::decode(view(*json_to_payload("true"))), true);
  EXPECT_FALSE(Codec<int>::decode(view(*json_to_payload("\"five\""))).ok());
}

TEST(Codec, APlainObjectWithJsonIsReadFromACommandLineToo) {
  const auto payload = Codec<Charge>::encode({17, 4200});
  EXPECT_EQ(BytesView(payload).size(), 8 + sizeof(Charge)) << "and travels as it is all the same";
  EXPECT_EQ(Codec<Charge>::decode(payload)->cents, 4200);
  const auto from_text = Codec<Charge>::decode(view(*json_to_payload(R"({"order": 17, "cents": 4200})")));
  ASSERT_TRUE(from_text.ok()) << from_text.error().message;
  EXPECT_EQ(from_text->order, 17);
  const auto wrong = Codec<Charge>::decode(view(*json_to_payload(R"({"order": 17})")));
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message.find("cents"), std::string::npos) << wrong.error().message;
  // Without it, who sent JSON is told what to do.
  const auto bare = Codec<Small>::decode(view(*json_to_payload(R"({"a": 7})")));
  ASSERT_FALSE(bare.ok());
  EXPECT_NE(bare.error().message.find("stem/json.hpp"), std::string::npos) << bare.error().message;
}

TEST(Codec, JsonTypesAndTheirErrors) {
  const auto packed = Codec<Named>::encode({"n", {1, 2, 3}});
  EXPECT_EQ(Codec<Named>::decode(packed)->numbers.size(), 3u);
  EXPECT_EQ(Codec<Named>::decode(view(*json_to_payload(R"({"name": "x", "numbers": []})")))->name, "x");
  EXPECT_FALSE(Codec<Named>::decode(view(*json_to_payload(R"({"name": 5})"))).ok());
  EXPECT_FALSE(Codec<Named>::decode(view("\x93\x01")).ok());
}

// The library walks documents by recursion: a payload of a megabyte of opening brackets must not end the process.
TEST(Codec, WhatIsNestedTooDeeplyIsRefused) {
  const std::string lists(1'000'000, '\x91');
  const auto bytes = std::as_bytes(std::span(lists));
  const auto decoded = Codec<std::vector<Named>>::decode(bytes);
  ASSERT_FALSE(decoded.ok());
  EXPECT_EQ(decoded.error().code, Errc::kInvalidArgument);
  EXPECT_EQ(payload_to_json(bytes)["bytes"], lists.size());
  const std::string brackets = std::string(500'000, '[') + std::string(500'000, ']');
  const auto packed = json_to_payload(brackets);
  ASSERT_FALSE(packed.ok());
  EXPECT_NE(packed.error().message.find("200 levels"), std::string::npos) << packed.error().message;
  EXPECT_TRUE(json_to_payload(std::string(150, '[') + std::string(150, ']')).ok());
}

TEST(Codec, OnesOwn) { EXPECT_EQ(Codec<Temperature>::decode(Codec<Temperature>::encode({36.5}))->celsius, 36.5); }

TEST(JsonPayload, ComesBackAsItWasTyped) {
  for (const char* text : {"null", "true", "0", "7", "55", "127", "128", "-3", "1.25", "[]", "[1,2]",
                           "{\"a\":[1,{\"b\":null}]}", "\"text\"", "\"7\"", "\"gr\xc3\xbc\xc3\x9f\""})
    EXPECT_EQ(shown(text), nlohmann::json::parse(text)) << text;
}

TEST(JsonPayload, MalformedIsRefusedWithThePlace) {
  for (const char* text : {"", "{", "[1,]", "nul", "{\"a\":1} x", "'a'"}) {
    const auto refused = json_to_payload(text);
    ASSERT_FALSE(refused.ok()) << text;
    EXPECT_EQ(refused.error().code, Errc::kInvalidArgument);
    EXPECT_NE(refused.error().message.find("line"), std::string::npos);
  }
}

TEST(JsonPayload, WhatIsNotJsonIsShownToo) {
  EXPECT_EQ(payload_to_json({}), nullptr);
  const auto number = Codec<int>::encode(42);
  EXPECT_EQ(payload_to_json(number), 42);
  const auto truth = Codec<bool>::encode(true);
  EXPECT_EQ(payload_to_json(truth), true);
  const auto object = payload_to_json(Codec<Small>::encode({1, 'x'}));
  EXPECT_EQ(object["bytes"], sizeof(Small));
  EXPECT_TRUE(object.contains("layout"));
  const auto binary = payload_to_json(view(std::string("\xff\xfe\x01\x00", 4)));
  EXPECT_EQ(binary["hex"], "fffe0100");
}

}  // namespace
}  // namespace stem::api_tests
