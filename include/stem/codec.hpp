// How arguments and results become bytes, and back.
//
//   trivially copyable        in place: a layout hash of 8 bytes, then the object as it is; with to_json and
//                             "stem/json.hpp" it is read from MessagePack as well (command line, Python)
//   std::string, bytes        the bytes themselves
//   anything with to_json     MessagePack; include "stem/json.hpp"
//   your own                  specialise stem::Codec<T>
//
// The layout hash holds size, alignment and the type's name, so that a worker built against another
// definition refuses the task (payload-invalid) instead of reading nonsense. Its first byte, 0xc1, is
// the one byte that MessagePack never uses: the three kinds can be told apart without being told.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "stem/result.hpp"
#include "stem/task.hpp"

namespace stem {

using Bytes = std::vector<std::byte>;
using BytesView = std::span<const std::byte>;

// Set it for a trivially copyable type that should travel as MessagePack all the same:
//   template <> inline constexpr bool stem::kStoreAsJson<Point> = true;
template <class T>
inline constexpr bool kStoreAsJson = false;

template <class T>
concept RawBytes = std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view> || std::is_same_v<T, Bytes> ||
    std::is_same_v<T, BytesView>;

template <class T>
concept InPlace = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::is_array_v<T> &&
                  !std::is_member_pointer_v<T> && !RawBytes<T> && !kStoreAsJson<T>;

inline constexpr std::uint8_t kInPlaceMark = 0xc1;

template <class T>
constexpr std::uint64_t layout_hash() {
  detail::KeyHash h;
  h.add(std::uint64_t(sizeof(T))).add(std::uint64_t(alignof(T)));
  h.add(std::string_view(__PRETTY_FUNCTION__));
  return (h.value() & ~std::uint64_t{0xff}) | kInPlaceMark;  // little endian: the mark is the first byte
}

namespace detail {

// A number or truth value that came as MessagePack (from a command line) where an in-place value was
// expected.
struct PackedNumber {
  enum class Kind : std::uint8_t { kNone, kNatural, kNegative, kReal } kind = Kind::kNone;
  std::uint64_t natural = 0;
  std::int64_t negative = 0;
  double real = 0;

  template <class T>
  std::optional<T> as() const {
    if (kind == Kind::kNone) return std::nullopt;
    if constexpr (std::is_floating_point_v<T>) {
      if (kind == Kind::kReal) return static_cast<T>(real);
      return kind == Kind::kNatural ? static_cast<T>(natural) : static_cast<T>(negative);
    } else if (kind == Kind::kNatural && natural <= std::uint64_t(std::numeric_limits<T>::max())) {
      return static_cast<T>(natural);
    } else if (kind == Kind::kNegative && std::is_signed_v<T> &&
               negative >= std::int64_t(std::numeric_limits<T>::min())) {
      return static_cast<T>(negative);
    } else {
      return std::nullopt;
    }
  }
};
PackedNumber read_packed_number(BytesView bytes) noexcept;

// Reads a T that came as MessagePack; what "stem/json.hpp" knows of types with from_json.
template <class T>
struct FromJson {
  static constexpr bool kCan = false;
};
Error layout_mismatch(std::size_t expected_bytes, BytesView got);

}  // namespace detail

// encode() gives something that a BytesView can be made of; decode() a Result<T>. A view that decode()
// returns lives as long as the handler runs.
template <class T>
struct Codec {
  static_assert(sizeof(T) == 0,
                "this type is neither trivially copyable nor raw bytes: give it to_json and from_json "
                "and include \"stem/json.hpp\", or specialise stem::Codec");
};

template <class T>
struct InPlacePayload {
  std::byte bytes[8 + sizeof(T)];
  operator BytesView() const { return bytes; }
};

template <InPlace T>
struct Codec<T> {
  static constexpr bool kInPlace = true;

  static InPlacePayload<T> encode(const T& value) noexcept {
    InPlacePayload<T> payload;
    constexpr std::uint64_t hash = layout_hash<T>();
    std::memcpy(payload.bytes, &hash, sizeof hash);
    std::memcpy(payload.bytes + sizeof hash, &value, sizeof value);
    return payload;
  }

  static Result<T> decode(BytesView bytes) {
    std::uint64_t hash = 0;
    if (bytes.size() == 8 + sizeof(T)) std::memcpy(&hash, bytes.data(), sizeof hash);
    if (hash == layout_hash<T>()) {
      std::array<std::byte, sizeof(T)> object;
      std::memcpy(object.data(), bytes.data() + 8, sizeof(T));
      return std::bit_cast<T>(object);
    }
    if constexpr (std::is_arithmetic_v<T>) {
      if (const auto number = detail::read_packed_number(bytes).as<T>()) return *number;
    }
    if constexpr (detail::FromJson<T>::kCan) {
      if (!bytes.empty() && bytes[0] != std::byte{kInPlaceMark}) return detail::FromJson<T>::decode(bytes);
    }
    return detail::layout_mismatch(sizeof(T), bytes);
  }
};

template <>
struct Codec<Nothing> {
  static constexpr bool kInPlace = false;
  static BytesView encode(const Nothing&) noexcept { return {}; }
  static Result<Nothing> decode(BytesView) { return Nothing{}; }  // what a caller sends is not looked at
};

template <RawBytes T>
struct Codec<T> {
  static constexpr bool kInPlace = false;
  static BytesView encode(const T& value) noexcept { return std::as_bytes(std::span(value.data(), value.size())); }
  static Result<T> decode(BytesView bytes) {
    if constexpr (std::is_same_v<T, BytesView>) {
      return bytes;
    } else if constexpr (std::is_same_v<T, Bytes>) {
      return Bytes(bytes.begin(), bytes.end());
    } else {
      return T(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
  }
};

}  // namespace stem
