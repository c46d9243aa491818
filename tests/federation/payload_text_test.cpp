#include "federation/payload_text.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/federation/packed.hpp"

namespace stem::federation {
namespace {

using test::packed;

TEST(PayloadText, WhatOursEncodeIsJsonOnTheWireAndComesBackTheSame) {
  for (const char* text : {R"({"n":1,"a":[1.5,true,null,"ü"]})", "42", "-7", "\"x\"", "18446744073709551615",
                           "-9223372036854775808", "{}", "[]", "0.1"}) {
    const std::string bytes = packed(nlohmann::ordered_json::parse(text));
    const auto json = json_of_message_pack(bytes);
    ASSERT_TRUE(json) << text;
    EXPECT_EQ(*json, text);
    EXPECT_EQ(message_pack_of_json(*json), bytes) << text;
  }
}

TEST(PayloadText, WhatWouldChangeOnTheWayIsLeftAlone) {
  EXPECT_FALSE(json_of_message_pack("")) << "nothing";
  EXPECT_FALSE(json_of_message_pack("{\"n\":1}")) << "text";
  EXPECT_FALSE(json_of_message_pack(std::string("\xc4\x02\x00\xff", 4))) << "binary";
  EXPECT_FALSE(json_of_message_pack(std::string("\xa2\xff\xfe", 3))) << "a string that is not UTF-8";
  EXPECT_FALSE(json_of_message_pack(std::string("\xd2\x00\x00\x00\x01", 5))) << "a wider integer than is needed";
  EXPECT_FALSE(json_of_message_pack(std::string("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", 9))) << "not a number";
  EXPECT_FALSE(json_of_message_pack(std::string(100'000, '\x91'))) << "cut off, and deep";
  EXPECT_FALSE(json_of_message_pack(std::string(100'000, '\x91') + '\x01')) << "whole, and too deep";
  EXPECT_FALSE(message_pack_of_json("{"));
  EXPECT_FALSE(message_pack_of_json(std::string(100'000, '[') + std::string(100'000, ']')));
}

}  // namespace
}  // namespace stem::federation
