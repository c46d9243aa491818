// Arguments and results that have to_json and from_json (nlohmann/json, found by ADL) travel as
// MessagePack. Include this where such a task is described, in every file alike.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/shallow_json.hpp"
#include "stem/codec.hpp"

namespace stem {

namespace detail {
template <class T>
concept JsonConvertible = requires(nlohmann::json& j, const T& value) {
  nlohmann::adl_serializer<T>::to_json(j, value);
};
template <class T>
concept JsonReadable = requires(const nlohmann::json& j, T& value) {
  nlohmann::adl_serializer<T>::from_json(j, value);
};

template <JsonConvertible T>
requires(!std::is_arithmetic_v<T> && (!InPlace<T> || JsonReadable<T>)) struct FromJson<T> {
  static constexpr bool kCan = true;
  static Result<T> decode(BytesView bytes) {
    const auto* begin = reinterpret_cast<const std::uint8_t*>(bytes.data());
    if (!base::is_shallow({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                          nlohmann::json::input_format_t::msgpack))
      return Error{Errc::kInvalidArgument, "the payload is nested too deeply"};
    const auto json = nlohmann::json::from_msgpack(begin, begin + bytes.size(), /*strict=*/true,
                                                   /*allow_exceptions=*/false);
    if (json.is_discarded()) return Error{Errc::kInvalidArgument, "the payload is not MessagePack"};
    try {
      return json.template get<T>();
    } catch (const std::exception& e) {
      return Error{Errc::kInvalidArgument, std::string("the payload does not fit: ") + e.what()};
    }
  }
};

}  // namespace detail

template <class T>
requires(!InPlace<T> && !RawBytes<T> && !std::is_pointer_v<T> && detail::JsonConvertible<T>) struct Codec<T> {
  static constexpr bool kInPlace = false;

  struct Packed {
    std::vector<std::uint8_t> bytes;
    operator BytesView() const { return std::as_bytes(std::span(bytes)); }
  };

  static Packed encode(const T& value) { return {nlohmann::json::to_msgpack(nlohmann::json(value))}; }
  static Result<T> decode(BytesView bytes) { return detail::FromJson<T>::decode(bytes); }
};

}  // namespace stem
