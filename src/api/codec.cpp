#include "stem/codec.hpp"

#include <nlohmann/json.hpp>

namespace stem::detail {

PackedNumber read_packed_number(BytesView bytes) noexcept {
  PackedNumber number;
  if (bytes.empty() || bytes.size() > 9) return number;
  try {
    const auto* begin = reinterpret_cast<const std::uint8_t*>(bytes.data());
    const auto json = nlohmann::json::from_msgpack(begin, begin + bytes.size(), true, /*allow_exceptions=*/false);
    using Kind = PackedNumber::Kind;
    if (json.is_boolean()) {
      number.kind = Kind::kNatural;
      number.natural = json.get<bool>() ? 1 : 0;
    } else if (json.is_number_unsigned()) {
      number.kind = Kind::kNatural;
      number.natural = json.get<std::uint64_t>();
    } else if (json.is_number_integer()) {
      number.negative = json.get<std::int64_t>();
      number.natural = static_cast<std::uint64_t>(number.negative);
      number.kind = number.negative < 0 ? Kind::kNegative : Kind::kNatural;
    } else if (json.is_number_float()) {
      number.kind = Kind::kReal;
      number.real = json.get<double>();
    }
  } catch (...) {  // no memory for the parser: not a number that we can read
  }
  return number;
}

Error layout_mismatch(std::size_t expected_bytes, BytesView got) {
  if (!got.empty() && got[0] != std::byte{kInPlaceMark}) {
    return {
        Errc::kInvalidArgument,
        "the payload is JSON, as from a command line or Python, and this program takes a plain object's bytes: give "
        "its type to_json and from_json, and include \"stem/json.hpp\""};
  }
  std::string what = "the payload is not the object that this program expects: ";
  if (got.size() != 8 + expected_bytes) {
    what += std::to_string(got.size()) + " bytes instead of " + std::to_string(8 + expected_bytes);
  } else {
    what += "its layout (size, alignment or type name) is another one";
  }
  return {Errc::kInvalidArgument, what + "; build producer and worker from the same definition"};
}

}  // namespace stem::detail
