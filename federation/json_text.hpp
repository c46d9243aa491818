// JSON as text: taken apart one level deep and put together again without a document in between, so that what we do
// not understand (numbers of any size, the order of members) stays exactly as it was.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace stem::federation {

// One JSON value and nothing else, in UTF-8.
bool is_json(std::string_view text);
bool is_json_object(std::string_view text);
bool is_utf8(std::string_view text);

struct JsonMember {
  std::string name;
  std::string_view value;  // JSON text, without the blanks around it; within the text that was taken apart

  bool is_null() const { return value == "null"; }
  bool is_string() const { return value.starts_with('"'); }
  bool is_object() const { return value.starts_with('{'); }
};

// The members of an object in their order; of two with one name both (the last is the one that counts).
// kInvalidArgument, with the place, when it is not an object.
Result<std::vector<JsonMember>> json_members(std::string_view text);
// The same of a text that is known to be an object (is_json_object() has said so), one after the other: `member` is filled
// anew each time, and its name's memory used again. The text outlives the reader.
class MemberReader {
 public:
  explicit MemberReader(std::string_view object);
  bool next(JsonMember& member);  // false at the end

 private:
  std::string_view text_;
  std::size_t at_ = 1;
};

// The text of a JSON string value (with its quotes), which must come from json_members.
std::string json_string_value(std::string_view value);

// "text" with quotes and escapes. What is not UTF-8 is replaced: ask is_utf8 where that matters.
void append_json_string(std::string& out, std::string_view text);

// RFC 4648, with padding.
void append_base64(std::string& out, std::string_view bytes);
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace stem::federation
