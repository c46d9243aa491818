// What comes from Redis: tasks as JSON and as fields, and replies cut anywhere.
#include <string>
#include <vector>

#include "federation/envelope.hpp"
#include "federation/json_text.hpp"
#include "federation/plain_value.hpp"
#include "federation/records.hpp"
#include "federation/reply_reader.hpp"
#include "input.hpp"

namespace stem::fuzz {
namespace {

using federation::DeadLetter;
using federation::Envelope;
using federation::TaskStatus;

// What was understood can be written, and is then understood as the same.
template <class T>
void comes_back(const T& decoded) {
  std::string text;
  if constexpr (std::is_same_v<T, Envelope>)
    federation::append_json(text, decoded.view());
  else
    federation::append_json(text, decoded);
  T again;
  expect(federation::decode_json(text, again).ok(), "what was written is refused");
  std::string twice;
  if constexpr (std::is_same_v<T, Envelope>)
    federation::append_json(twice, again.view());
  else
    federation::append_json(twice, again);
  expect(text == twice, "what was written reads as something else");
}

template <class T>
void decode(std::string_view text) {
  T decoded;
  const auto done = federation::decode_json(text, decoded);
  if (done.ok())
    comes_back(decoded);
  else
    expect(!done.error().message.empty(), "refused without a reason");
}

void look_at(const federation::Reply& reply, std::size_t& bytes, int depth) {
  expect(depth < 100, "a reply deeper than any stack");
  for (const char c : reply.text) bytes += static_cast<unsigned char>(c) & 1u;
  for (const federation::Reply& element : reply.elements) look_at(element, bytes, depth + 1);
}

}  // namespace

void run_envelope(Bytes bytes) {
  const std::string_view text = text_of(bytes);
  decode<Envelope>(text);
  decode<DeadLetter>(text);
  decode<TaskStatus>(text);
  // The same bytes as fields of a stream entry: name and text by turns, one a line.
  std::vector<federation::TextField> fields;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t name_end = std::min(text.find('\n', at), text.size());
    const std::size_t from = std::min(name_end + 1, text.size());
    const std::size_t text_end = std::min(text.find('\n', from), text.size());
    fields.push_back({text.substr(at, name_end - at), text.substr(from, text_end - from)});
    at = text_end + 1;
  }
  Envelope envelope;
  if (federation::decode_fields(fields, envelope).ok()) {
    const Envelope kept = envelope;
    const federation::StreamFields written(kept.view());
    Envelope again;
    expect(federation::decode_fields(written.fields(), again).ok(), "fields that were written are refused");
  }
  if (federation::is_json(text)) (void)federation::plain_message_pack(text);
  (void)federation::decode_base64(text);
}

void run_reply(Bytes bytes) {
  Input input(bytes);
  const std::uint8_t cut = input.byte();
  const std::string_view text = text_of(input.rest());
  federation::ReplyReader reader(1u << 16);
  std::size_t seen = 0, replies = 0;
  const auto take = [&](const federation::Reply& reply) {
    look_at(reply, seen, 0);
    return ++replies < 1000;
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t n = cut == 0 ? text.size() : std::min<std::size_t>(1 + (at * 7 + cut) % cut, text.size() - at);
    if (!reader.read(text.substr(at, n), take)) {
      expect(!reader.fault().empty(), "broken off without a reason");
      return;
    }
    at += n;
  }
}

}  // namespace stem::fuzz
