#include "federation/payload_text.hpp"

#include <nlohmann/json.hpp>
#include <span>

#include "base/shallow_json.hpp"
#include "federation/plain_value.hpp"

namespace stem::federation {
namespace {

using nlohmann::ordered_json;

std::string packed(const ordered_json& value) {
  std::string bytes;
  ordered_json::to_msgpack(value, bytes);
  return bytes;
}

}  // namespace

std::optional<std::string> json_of_message_pack(std::string_view bytes) {
  std::string plain;
  switch (plain_json(bytes, plain)) {
    case PlainValue::kPlain: return plain;
    case PlainValue::kNotMessagePack: return std::nullopt;
    case PlainValue::kOther: break;
  }
  if (!base::is_shallow(bytes, nlohmann::json::input_format_t::msgpack)) return std::nullopt;
  const ordered_json value = ordered_json::from_msgpack(bytes.begin(), bytes.end(), /*strict=*/true,
                                                        /*allow_exceptions=*/false);
  if (value.is_discarded()) return std::nullopt;
  // Text that is not UTF-8 and binary values have no JSON; numbers of another width would not be the same bytes.
  const std::string text = value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  const auto back = message_pack_of_json(text);
  if (!back || *back != bytes) return std::nullopt;
  return text;
}

std::optional<std::string> message_pack_of_json(std::string_view text) {
  if (auto plain = plain_message_pack(text)) return plain;
  if (!base::is_shallow(text, nlohmann::json::input_format_t::json)) return std::nullopt;
  const ordered_json value = ordered_json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return std::nullopt;
  return packed(value);
}

}  // namespace stem::federation
