// A flat JSON object with known members, written and read member by member. Shared by everything we keep as JSON
// (envelope, dead letter, result): what is unknown is kept, and bytes that are not UTF-8 stand in the object `base64`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "federation/envelope.hpp"
#include "federation/json_text.hpp"

namespace stem::federation {

class JsonRecordWriter {
 public:
  explicit JsonRecordWriter(std::string& out) : out_(out) { out_ += '{'; }

  void text(std::string_view name, std::string_view value);
  void bytes(std::string_view name, std::string_view value);  // any bytes
  void json(std::string_view name, std::string_view value);   // JSON text
  void number(std::string_view name, std::int64_t value);
  void number(std::string_view name, std::optional<std::int64_t> value);
  void time(std::string_view name, std::optional<std::int64_t> time_us);
  void foreign(std::span<const ForeignField> fields);
  // For a member that somebody else appends to `out` next.
  void begin(std::string_view name);
  void end();

 private:
  std::string& out_;
  bool first_ = true;
  std::vector<TextField> binary_;
};

// Remembers the first thing that is wrong; `finish` tells it. A member that is missing or null leaves `out` as it is.
class JsonRecordReader {
 public:
  explicit JsonRecordReader(std::string_view text);

  bool text(std::string_view name, std::string& out);
  void required_text(std::string_view name, std::string& out);  // not empty
  void bytes(std::string_view name, std::optional<std::string>& out);
  void object(std::string_view name, std::string& out);  // also as text that holds an object
  void json(std::string_view name, std::string& out);    // any value, null too
  void number(std::string_view name, std::int64_t& out, std::int64_t least);
  void number(std::string_view name, std::optional<std::int64_t>& out, std::int64_t least);
  bool time(std::string_view name, std::int64_t& out_us);
  void time(std::string_view name, std::optional<std::int64_t>& out_us);
  // The text of a member; nothing when it is missing or null.
  std::optional<std::string_view> raw(std::string_view name);
  void fail(Error error);
  // What nobody asked for goes to `foreign`.
  Result<void> finish(std::vector<ForeignField>& foreign);

 private:
  struct Binary {
    std::string name;
    std::string bytes;
  };
  const JsonMember* take(std::string_view name);
  void read_binary(std::string_view object);
  void fail(std::string_view name, std::string_view why);

  std::vector<JsonMember> members_;
  std::vector<std::string> taken_;
  std::vector<Binary> binary_;
  std::optional<Error> error_;
};

// Whole numbers as the wire has them: digits, perhaps '-'. Nothing when it is something else or does not fit.
std::optional<std::int64_t> parse_wire_number(std::string_view text);

}  // namespace stem::federation
