#include "stem/json_payload.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/shallow_json.hpp"

namespace stem {
namespace {

using nlohmann::json;

constexpr std::size_t kHexBytes = 64;

json as_hex(BytesView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const std::byte b : bytes.first(std::min(bytes.size(), kHexBytes))) {
    hex += kDigits[std::to_integer<unsigned>(b) >> 4];
    hex += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  return {{"bytes", bytes.size()}, {"hex", hex}};
}

template <class T>
bool in_place_number(BytesView payload, json& into) {
  std::uint64_t hash = 0;
  std::memcpy(&hash, payload.data(), sizeof hash);
  if (hash != layout_hash<T>() || payload.size() != 8 + sizeof(T)) return false;
  T value;
  std::memcpy(&value, payload.data() + 8, sizeof value);
  into = value;
  return true;
}

template <class... T>
bool in_place_number_of(BytesView payload, json& into) {
  return (in_place_number<T>(payload, into) || ...);
}

std::optional<json> in_place_as_json(BytesView payload) {
  json value;
  if (in_place_number_of<int, unsigned, long, unsigned long, long long, unsigned long long, short, unsigned short,
                         signed char, unsigned char, double, float>(payload, value))
    return value;
  if (payload.size() == 9) {
    Result<bool> truth = Codec<bool>::decode(payload);
    if (truth) return json(*truth);
  }
  return {};
}

bool is_in_place(BytesView payload) {
  return payload.size() >= 8 && std::to_integer<std::uint8_t>(payload.front()) == kInPlaceMark;
}

bool is_text(std::string_view text) {
  const bool control = std::any_of(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f;
  });
  if (control) return false;
  try {
    (void)json(text).dump();  // throws on bytes that are not UTF-8
    return true;
  } catch (const json::exception&) {
    return false;
  }
}

}  // namespace

Result<std::string> json_to_payload(std::string_view json_text) {
  if (!base::is_shallow(json_text, json::input_format_t::json))
    return Error{Errc::kInvalidArgument,
                 "JSON that is nested more than " + std::to_string(base::kDeepestJson) + " levels deep"};
  json value;
  try {
    value = json::parse(json_text);
    if (value.is_string()) return value.get<std::string>();
    if (value.is_number_integer() && value >= 0 && value < 128)
      return std::string{'\xcc', static_cast<char>(value.get<int>())};
    std::string bytes;
    json::to_msgpack(value, bytes);
    return bytes;
  } catch (const json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, ...": the number is the library's own.
    const std::string_view said = e.what();
    const std::size_t end = said.find("] ");
    return Error{Errc::kInvalidArgument,
                 "not JSON: " + std::string(said.substr(end == std::string_view::npos ? 0 : end + 2))};
  }
}

std::optional<json> payload_as_json(BytesView payload) {
  if (payload.empty()) return json(nullptr);
  const auto first = std::to_integer<std::uint8_t>(payload.front());
  if (is_in_place(payload)) return in_place_as_json(payload);
  const std::string_view text(reinterpret_cast<const char*>(payload.data()), payload.size());
  const bool printable_ascii = first >= 0x20 && first < 0x7f;  // as MessagePack it would be a number of one byte
  if (!printable_ascii && base::is_shallow(text, json::input_format_t::msgpack)) {
    json value = json::from_msgpack(text.begin(), text.end(), true, /*allow_exceptions=*/false);
    if (!value.is_discarded()) return value;
  }
  if (is_text(text)) return json(text);
  return {};
}

json payload_to_json(BytesView payload) {
  if (auto value = payload_as_json(payload)) return *value;
  if (!is_in_place(payload)) return as_hex(payload);
  json other = as_hex(payload.subspan(8));
  other["layout"] = as_hex(payload.first(8))["hex"];
  return other;
}

}  // namespace stem
