// The values that most tasks carry, from MessagePack to JSON and back in one pass: objects and lists of few members,
// plain ASCII strings, integers, true, false, null. Each answers only when it is sure that the library would say the
// same, byte for byte; for everything else it says nothing, and the library is asked. That takes long, so what is surely
// no MessagePack (most bytes that mean something else) is told apart.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace stem::federation {

enum class PlainValue { kPlain, kOther, kNotMessagePack };

// `json` is the text when it is plain, and means nothing otherwise.
PlainValue plain_json(std::string_view message_pack, std::string& json);
std::optional<std::string> plain_message_pack(std::string_view json);
// Whether the above has an answer, without making one.
bool is_plain_json(std::string_view json);

}  // namespace stem::federation
