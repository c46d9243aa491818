#include "federation/envelope.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <tuple>

#include "base/check.hpp"
#include "federation/iso_time.hpp"
#include "federation/json_record.hpp"
#include "federation/json_text.hpp"

namespace stem::federation {
namespace {

Error wrong_field(std::string_view name, std::string_view why) {
  return {Errc::kInvalidArgument, fmt::format("field '{}': {}", name, why)};
}

Result<void> take_text(const TextField& field, std::string& out) {
  if (!is_utf8(field.text)) return wrong_field(field.name, "is not UTF-8");
  out = field.text;
  return {};
}

Result<void> take_object(const TextField& field, std::string& out) {
  if (field.text.empty()) return {};
  if (!is_json_object(field.text)) return wrong_field(field.name, "is not a JSON object");
  out = field.text;
  return {};
}

// An empty text is a missing one.
Result<void> take_number(const TextField& field, std::int64_t& out, std::int64_t least = 0) {
  if (field.text.empty()) return {};
  const auto value = parse_wire_number(field.text);
  if (!value || *value < least) {
    return wrong_field(field.name,
                       fmt::format("'{:.64}' is not a whole number{}", field.text, least == 0 ? " from 0" : ""));
  }
  out = *value;
  return {};
}

template <class Take, class Value>
Result<void> take_optional(Take take, const TextField& field, std::optional<Value>& out) {
  if (field.text.empty()) return {};
  Value value{};
  auto taken = take(field, value);
  if (taken.ok()) out = value;
  return taken;
}

Result<void> take_time(const TextField& field, std::int64_t& out_us) {
  if (field.text.empty()) return {};
  const auto parsed = parse_iso_time_us(field.text);
  if (!parsed.ok()) return wrong_field(field.name, parsed.error().message);
  out_us = *parsed;
  return {};
}

// In the order in which we write them, and find most.
constexpr std::string_view kFieldNames[] = {"id",        "name",     "args",    "headers",    "enqueuedAt",
                                            "notBefore", "priority", "attempt", "maxRetries", "visibilityTimeout",
                                            "queue",     "meta",     "payload"};

// `at`: where it stands, which is where it is looked for first.
Result<void> take_field(const TextField& field, std::size_t at, Envelope& out) {
  const std::string_view name = field.name;
  if (at >= std::size(kFieldNames) || kFieldNames[at] != name)
    at = static_cast<std::size_t>(std::find(std::begin(kFieldNames), std::end(kFieldNames), name) -
                                  std::begin(kFieldNames));
  const auto take_ms = [](const TextField& one, std::int64_t& ms) { return take_number(one, ms); };
  switch (at) {
    case 0: return take_text(field, out.id);
    case 1: return take_text(field, out.name);
    case 2: return take_object(field, out.args);
    case 3: return take_object(field, out.headers);
    case 4: return take_time(field, out.enqueued_at_us);
    case 5: return take_optional(take_time, field, out.not_before_us);
    case 6: return take_number(field, out.priority, INT64_MIN);
    case 7: return take_number(field, out.attempt);
    case 8: return take_number(field, out.max_retries);
    case 9: return take_optional(take_ms, field, out.visibility_timeout_ms);
    case 10: return field.text.empty() ? Result<void>() : take_text(field, out.queue);
    case 11: return take_object(field, out.meta);
    case 12: out.payload = field.text; return {};
    default: break;
  }
  if (!is_utf8(name)) return Error{Errc::kInvalidArgument, "the name of a field is not UTF-8"};
  out.foreign.push_back({std::string(name), std::string(field.text), false});
  return {};
}

}  // namespace

void Envelope::clear() {
  const EnvelopeView defaults;
  id = defaults.id;
  name = defaults.name;
  args = defaults.args;
  headers = defaults.headers;
  enqueued_at_us = 0;
  not_before_us.reset();
  priority = defaults.priority;
  attempt = defaults.attempt;
  max_retries = defaults.max_retries;
  visibility_timeout_ms.reset();
  queue = defaults.queue;
  meta = defaults.meta;
  payload.reset();
  foreign.clear();
}

EnvelopeView Envelope::view() const {
  return {.id = id,
          .name = name,
          .args = args,
          .headers = headers,
          .enqueued_at_us = enqueued_at_us,
          .not_before_us = not_before_us,
          .priority = priority,
          .attempt = attempt,
          .max_retries = max_retries,
          .visibility_timeout_ms = visibility_timeout_ms,
          .queue = queue,
          .meta = meta,
          .payload = payload,
          .foreign = foreign};
}

std::string_view StreamFields::number(std::int64_t value) {
  char* const start = scratch_.data() + used_;
  const auto [end, error] = std::to_chars(start, scratch_.data() + scratch_.size(), value);
  STEM_CHECK(error == std::errc());
  used_ = static_cast<std::size_t>(end - scratch_.data());
  return {start, end};
}

std::string_view StreamFields::time(std::int64_t time_us) {
  STEM_CHECK(used_ + kIsoTimeBytes <= scratch_.size());
  char* const start = scratch_.data() + used_;
  char* const end = write_iso_time(start, time_us);
  used_ = static_cast<std::size_t>(end - scratch_.data());
  return {start, end};
}

StreamFields::StreamFields(const EnvelopeView& e) {
  known_ = {{{"id", e.id},
             {"name", e.name},
             {"args", e.args},
             {"headers", e.headers},
             {"enqueuedAt", time(e.enqueued_at_us)},
             {"notBefore", e.not_before_us ? time(*e.not_before_us) : std::string_view()},
             {"priority", number(e.priority)},
             {"attempt", number(e.attempt)},
             {"maxRetries", number(e.max_retries)},
             {"visibilityTimeout", e.visibility_timeout_ms ? number(*e.visibility_timeout_ms) : std::string_view()},
             {"queue", e.queue},
             {"meta", e.meta},
             {"payload", e.payload.value_or(std::string_view())}}};
  const std::size_t known = known_.size() - (e.payload ? 0 : 1);
  fields_ = std::span<const TextField>(known_).first(known);
  if (e.foreign.empty()) return;
  with_foreign_.assign(fields_.begin(), fields_.end());
  for (const ForeignField& field : e.foreign) with_foreign_.push_back({field.name, field.text});
  fields_ = with_foreign_;
}

void StreamFields::append_to(std::vector<std::string_view>& argv) const {
  for (const TextField& field : fields_) {
    argv.push_back(field.name);
    argv.push_back(field.text);
  }
}

Result<void> decode_fields(std::span<const TextField> fields, Envelope& out) {
  out.clear();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (auto taken = take_field(fields[i], i, out); !taken.ok()) return taken;
  }
  if (out.id.empty()) return wrong_field("id", "is missing");
  if (out.name.empty()) return wrong_field("name", "is missing");
  return {};
}

void append_json(std::string& out, const EnvelopeView& e) {
  JsonRecordWriter writer(out);
  writer.text("id", e.id);
  writer.text("name", e.name);
  writer.json("args", e.args);
  writer.json("headers", e.headers);
  writer.time("enqueuedAt", e.enqueued_at_us);
  writer.time("notBefore", e.not_before_us);
  writer.number("priority", e.priority);
  writer.number("attempt", e.attempt);
  writer.number("maxRetries", e.max_retries);
  writer.number("visibilityTimeout", e.visibility_timeout_ms);
  writer.text("queue", e.queue);
  writer.json("meta", e.meta);
  if (e.payload) writer.bytes("payload", *e.payload);
  writer.foreign(e.foreign);
  writer.end();
}

Result<void> decode_json(std::string_view text, Envelope& out) {
  out.clear();
  JsonRecordReader reader(text);
  reader.required_text("id", out.id);
  reader.required_text("name", out.name);
  reader.object("args", out.args);
  reader.object("headers", out.headers);
  reader.time("enqueuedAt", out.enqueued_at_us);
  reader.time("notBefore", out.not_before_us);
  reader.number("priority", out.priority, INT64_MIN);
  reader.number("attempt", out.attempt, 0);
  reader.number("maxRetries", out.max_retries, 0);
  reader.number("visibilityTimeout", out.visibility_timeout_ms, 0);
  reader.text("queue", out.queue);
  if (out.queue.empty()) out.queue = EnvelopeView{}.queue;
  reader.object("meta", out.meta);
  reader.bytes("payload", out.payload);
  return reader.finish(out.foreign);
}

}  // namespace stem::federation
