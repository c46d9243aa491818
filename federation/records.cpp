#include "federation/records.hpp"

#include "federation/json_record.hpp"

namespace stem::federation {
namespace {

void append_letter(std::string& out, const EnvelopeView& envelope, std::string_view reason, std::string_view meta_json,
                   std::int64_t dead_at_us, std::span<const ForeignField> foreign) {
  JsonRecordWriter writer(out);
  writer.begin("envelope");
  append_json(out, envelope);
  if (reason.empty()) {
    writer.json("reason", "null");
  } else {
    writer.text("reason", reason);
  }
  writer.json("meta", meta_json);
  writer.time("deadAt", dead_at_us);
  writer.foreign(foreign);
  writer.end();
}

}  // namespace

void append_json(std::string& out, const DeadLetter& letter) {
  append_letter(out, letter.envelope.view(), letter.reason, letter.meta, letter.dead_at_us, letter.foreign);
}

void append_dead_letter_json(std::string& out, const EnvelopeView& envelope, std::string_view reason,
                             std::string_view meta_json, std::int64_t dead_at_us) {
  append_letter(out, envelope, reason, meta_json, dead_at_us, {});
}

Result<void> decode_json(std::string_view text, DeadLetter& out) {
  out = {};
  JsonRecordReader reader(text);
  if (const auto envelope = reader.raw("envelope")) {
    if (auto decoded = decode_json(*envelope, out.envelope); !decoded.ok()) {
      reader.fail(decoded.error().within("field 'envelope'"));
    }
  } else {
    reader.fail({Errc::kInvalidArgument, "field 'envelope': is missing"});
  }
  reader.text("reason", out.reason);
  reader.object("meta", out.meta);
  if (!reader.time("deadAt", out.dead_at_us)) reader.fail({Errc::kInvalidArgument, "field 'deadAt': is missing"});
  return reader.finish(out.foreign);
}

void append_json(std::string& out, const TaskStatus& status) {
  JsonRecordWriter writer(out);
  writer.text("id", status.id);
  writer.text("state", status.state);
  if (status.payload_bytes) {
    // In its own member, so that a reader who knows JSON results alone finds none instead of a wrong one.
    writer.json("payload", "null");
    writer.bytes("payloadBytes", *status.payload_bytes);
  } else {
    writer.json("payload", status.payload);
  }
  writer.json("error", status.error);
  writer.json("meta", status.meta);
  writer.number("attempt", status.attempt);
  writer.time("createdAt", status.created_at_us);
  writer.time("updatedAt", status.updated_at_us);
  writer.foreign(status.foreign);
  writer.end();
}

Result<void> decode_json(std::string_view text, TaskStatus& out) {
  out = {};
  JsonRecordReader reader(text);
  reader.required_text("id", out.id);
  reader.required_text("state", out.state);
  reader.json("payload", out.payload);
  reader.bytes("payloadBytes", out.payload_bytes);
  reader.json("error", out.error);
  reader.object("meta", out.meta);
  reader.number("attempt", out.attempt, 0);
  reader.time("createdAt", out.created_at_us);
  reader.time("updatedAt", out.updated_at_us);
  return reader.finish(out.foreign);
}

}  // namespace stem::federation
