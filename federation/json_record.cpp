#include "federation/json_record.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "federation/iso_time.hpp"

namespace stem::federation {
namespace {

constexpr std::string_view kBinaryMember = "base64";

}  // namespace

std::optional<std::int64_t> parse_wire_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void JsonRecordWriter::begin(std::string_view name) {
  if (!first_) out_ += ',';
  first_ = false;
  append_json_string(out_, name);
  out_ += ':';
}

void JsonRecordWriter::text(std::string_view name, std::string_view value) {
  begin(name);
  append_json_string(out_, value);
}

void JsonRecordWriter::bytes(std::string_view name, std::string_view value) {
  // A foreign field that is called like our own member would be taken for it.
  if (is_utf8(value) && name != kBinaryMember) return text(name, value);
  binary_.push_back({name, value});
}

void JsonRecordWriter::json(std::string_view name, std::string_view value) {
  begin(name);
  out_ += value;
}

void JsonRecordWriter::number(std::string_view name, std::int64_t value) {
  begin(name);
  fmt::format_to(std::back_inserter(out_), "{}", value);
}

void JsonRecordWriter::number(std::string_view name, std::optional<std::int64_t> value) {
  if (value) return number(name, *value);
  json(name, "null");
}

void JsonRecordWriter::time(std::string_view name, std::optional<std::int64_t> time_us) {
  if (!time_us) return json(name, "null");
  begin(name);
  out_ += '"';
  append_iso_time(out_, *time_us);
  out_ += '"';
}

void JsonRecordWriter::foreign(std::span<const ForeignField> fields) {
  for (const ForeignField& field : fields) {
    if (field.is_json) {
      json(field.name, field.text);
    } else {
      bytes(field.name, field.text);
    }
  }
}

void JsonRecordWriter::end() {
  if (!binary_.empty()) {
    begin(kBinaryMember);
    out_ += '{';
    for (const TextField& field : binary_) {
      if (&field != binary_.data()) out_ += ',';
      append_json_string(out_, field.name);
      out_ += ":\"";
      append_base64(out_, field.text);
      out_ += '"';
    }
    out_ += '}';
  }
  out_ += '}';
}

JsonRecordReader::JsonRecordReader(std::string_view text) {
  auto members = json_members(text);
  if (!members.ok()) {
    fail(members.error());
    return;
  }
  members_ = *std::move(members);
  if (const JsonMember* binary = take(kBinaryMember); binary != nullptr && binary->is_object()) {
    read_binary(binary->value);
  } else if (binary != nullptr) {
    taken_.pop_back();  // another program's field
  }
}

void JsonRecordReader::read_binary(std::string_view object) {
  const auto members = json_members(object);
  if (!members.ok()) return fail(kBinaryMember, members.error().message);
  for (const JsonMember& member : *members) {
    auto bytes = member.is_string() ? decode_base64(json_string_value(member.value)) : std::nullopt;
    if (!bytes) return fail(kBinaryMember, fmt::format("'{:.64}' is not base64", member.name));
    binary_.push_back({member.name, *std::move(bytes)});
  }
}

void JsonRecordReader::fail(Error error) {
  if (!error_) error_ = std::move(error);
}

void JsonRecordReader::fail(std::string_view name, std::string_view why) {
  fail(Error{Errc::kInvalidArgument, fmt::format("field '{}': {}", name, why)});
}

// The last member of that name, as every reader of JSON has it.
const JsonMember* JsonRecordReader::take(std::string_view name) {
  const auto found =
      std::find_if(members_.rbegin(), members_.rend(), [&](const JsonMember& one) { return one.name == name; });
  if (found == members_.rend()) return nullptr;
  taken_.emplace_back(name);
  return &*found;
}

std::optional<std::string_view> JsonRecordReader::raw(std::string_view name) {
  const JsonMember* member = take(name);
  if (member == nullptr || member->is_null()) return std::nullopt;
  return member->value;
}

bool JsonRecordReader::text(std::string_view name, std::string& out) {
  const auto value = raw(name);
  if (!value) return false;
  if (!value->starts_with('"')) {
    fail(name, "is not text");
    return false;
  }
  out = json_string_value(*value);
  return true;
}

void JsonRecordReader::required_text(std::string_view name, std::string& out) {
  out.clear();
  text(name, out);
  if (out.empty()) fail(name, "is missing");
}

void JsonRecordReader::bytes(std::string_view name, std::optional<std::string>& out) {
  const auto found = std::find_if(binary_.begin(), binary_.end(), [&](const Binary& one) { return one.name == name; });
  if (found != binary_.end()) {
    out = std::move(found->bytes);
    binary_.erase(found);
    return;
  }
  std::string value;
  if (text(name, value)) out = std::move(value);
}

void JsonRecordReader::object(std::string_view name, std::string& out) {
  const auto value = raw(name);
  if (!value) return;
  if (value->starts_with('{')) {
    out = *value;
    return;
  }
  // As in the stream, where everything is text.
  std::string inside = value->starts_with('"') ? json_string_value(*value) : std::string();
  if (!is_json_object(inside)) return fail(name, "is not a JSON object");
  out = std::move(inside);
}

void JsonRecordReader::json(std::string_view name, std::string& out) {
  if (const JsonMember* member = take(name)) out = member->value;
}

void JsonRecordReader::number(std::string_view name, std::optional<std::int64_t>& out, std::int64_t least) {
  const auto value = raw(name);
  if (!value) return;
  const std::string inside = value->starts_with('"') ? json_string_value(*value) : std::string(*value);
  if (inside.empty()) return;
  const auto number = parse_wire_number(inside);
  if (!number || *number < least) {
    return fail(name, fmt::format("'{:.64}' is not a whole number{}", inside, least == 0 ? " from 0" : ""));
  }
  out = number;
}

void JsonRecordReader::number(std::string_view name, std::int64_t& out, std::int64_t least) {
  std::optional<std::int64_t> value;
  number(name, value, least);
  if (value) out = *value;
}

void JsonRecordReader::time(std::string_view name, std::optional<std::int64_t>& out_us) {
  std::string value;
  if (!text(name, value) || value.empty()) return;
  const auto parsed = parse_iso_time_us(value);
  if (!parsed.ok()) return fail(name, parsed.error().message);
  out_us = *parsed;
}

bool JsonRecordReader::time(std::string_view name, std::int64_t& out_us) {
  std::optional<std::int64_t> value;
  time(name, value);
  if (value) out_us = *value;
  return value.has_value();
}

Result<void> JsonRecordReader::finish(std::vector<ForeignField>& foreign) {
  foreign.clear();
  if (error_) return *error_;
  for (const JsonMember& member : members_) {
    if (std::find(taken_.begin(), taken_.end(), member.name) != taken_.end()) continue;
    if (member.is_string()) {
      foreign.push_back({member.name, json_string_value(member.value), false});
    } else {
      foreign.push_back({member.name, std::string(member.value), true});
    }
  }
  for (Binary& field : binary_) foreign.push_back({std::move(field.name), std::move(field.bytes), false});
  return {};
}

}  // namespace stem::federation
