#include "federation/plain_value.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>

namespace stem::federation {
namespace {

constexpr int kMostDeep = 8;
constexpr std::size_t kMostMembers = 15;  // their count fits into the first byte
constexpr std::size_t kMostShort = 31;    // and the length of such a string

// All of it is looked at: a loop without a way out is done many bytes at a time.
bool is_plain(std::string_view text) {
  bool other = false;
  for (const char c : text) other |= (c < 0x20) | (c >= 0x7f) | (c == '"') | (c == '\\');
  return !other;
}

// Members with one name are one to the library, and which of them stays is its business.
class Names {
 public:
  bool add(std::string_view name) {
    if (std::find(names_, names_ + count_, name) != names_ + count_) return false;
    names_[count_++] = name;
    return true;
  }

 private:
  std::string_view names_[kMostMembers];
  std::size_t count_ = 0;
};

// ---- MessagePack -> JSON

class JsonMaker {
 public:
  explicit JsonMaker(std::string_view bytes) : in_(bytes) { out_.reserve(bytes.size() * 2); }

  std::optional<std::string> make() && {
    if (!value(0) || at_ != in_.size()) return std::nullopt;
    return std::move(out_);
  }

 private:
  bool value(int depth) {
    if (at_ >= in_.size() || depth > kMostDeep) return false;
    const auto head = static_cast<std::uint8_t>(in_[at_++]);
    if (head < 0x80) return integer<std::uint64_t>(head);
    if (head < 0x90) return object(head & 0x0f, depth);
    if (head < 0xa0) return list(head & 0x0f, depth);
    if (head < 0xc0) return text(head & 0x1f);
    if (head >= 0xe0) return integer<std::int64_t>(static_cast<std::int8_t>(head));
    switch (head) {
      case 0xc0: return word("null");
      case 0xc2: return word("false");
      case 0xc3: return word("true");
      case 0xcc: return number(1, 0x80);
      case 0xcd: return number(2, 0x100);
      case 0xce: return number(4, 0x1'0000);
      case 0xcf: return number(8, 0x1'0000'0000);
      case 0xd0: return negative(1, -0x20);
      case 0xd1: return negative(2, -0x80);
      case 0xd2: return negative(4, -0x8000);
      case 0xd3: return negative(8, -0x8000'0000ll);
      case 0xd9: return long_text(1, kMostShort + 1);
      case 0xda: return long_text(2, 0x100);
      case 0xdb: return long_text(4, 0x1'0000);
      default: return false;
    }
  }

  bool take(int bytes, std::uint64_t& into) {
    if (in_.size() - at_ < static_cast<std::size_t>(bytes)) return false;
    into = 0;
    for (int i = 0; i < bytes; ++i) into = into << 8 | static_cast<std::uint8_t>(in_[at_++]);
    return true;
  }

  // `least`: what is below it has a shorter form, which the library would have chosen.
  bool number(int bytes, std::uint64_t least) {
    std::uint64_t n = 0;
    return take(bytes, n) && n >= least && integer(n);
  }
  // `below`: and what is not below that.
  bool negative(int bytes, std::int64_t below) {
    std::uint64_t n = 0;
    if (!take(bytes, n)) return false;
    const auto value = static_cast<std::int64_t>(n << (64 - 8 * bytes)) >> (64 - 8 * bytes);
    return value < below && integer(value);
  }
  template <class T>
  bool integer(T n) {
    char digits[24];
    out_.append(digits, std::to_chars(digits, digits + sizeof digits, n).ptr);
    return true;
  }
  bool word(std::string_view text) {
    out_ += text;
    return true;
  }

  bool long_text(int bytes, std::uint64_t least) {
    std::uint64_t n = 0;
    return take(bytes, n) && n >= least && n <= in_.size() && text(static_cast<std::size_t>(n));
  }
  bool text(std::size_t bytes) {
    std::string_view found;
    if (!raw_text(bytes, found)) return false;
    out_ += '"';
    out_ += found;
    out_ += '"';
    return true;
  }
  bool raw_text(std::size_t bytes, std::string_view& found) {
    if (in_.size() - at_ < bytes) return false;
    found = in_.substr(at_, bytes);
    at_ += bytes;
    return is_plain(found);
  }

  bool short_name(std::string_view& name) {
    if (at_ >= in_.size()) return false;
    const auto head = static_cast<std::uint8_t>(in_[at_++]);
    return (head & 0xe0) == 0xa0 && raw_text(head & 0x1f, name);
  }
  bool object(std::size_t members, int depth) {
    Names names;
    out_ += '{';
    for (std::size_t i = 0; i < members; ++i) {
      if (i > 0) out_ += ',';
      std::string_view name;
      if (!short_name(name) || !names.add(name)) return false;
      out_ += '"';
      out_ += name;
      out_ += "\":";
      if (!value(depth + 1)) return false;
    }
    out_ += '}';
    return true;
  }
  bool list(std::size_t elements, int depth) {
    out_ += '[';
    for (std::size_t i = 0; i < elements; ++i) {
      if (i > 0) out_ += ',';
      if (!value(depth + 1)) return false;
    }
    out_ += ']';
    return true;
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::string out_;
};

// ---- JSON -> MessagePack

// Without `kWrites` it only reads: whether there is a plain value.
template <bool kWrites>
class Packer {
 public:
  explicit Packer(std::string_view text) : in_(text) {
    if constexpr (kWrites) out_.reserve(text.size() + 8);
  }

  bool pack() {
    if (!value(0)) return false;
    skip_blanks();
    return at_ == in_.size();
  }
  std::string take() && { return std::move(out_); }

 private:
  void skip_blanks() {
    while (at_ < in_.size() && (in_[at_] == ' ' || in_[at_] == '\t' || in_[at_] == '\n' || in_[at_] == '\r')) ++at_;
  }
  bool skip(char wanted) {
    skip_blanks();
    if (at_ >= in_.size() || in_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  void put(std::uint8_t byte) {
    if constexpr (kWrites) out_ += static_cast<char>(byte);
  }
  void put(std::uint8_t head, std::uint64_t n, int bytes) {
    if constexpr (!kWrites) return;
    put(head);
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) put(static_cast<std::uint8_t>(n >> shift));
  }

  bool value(int depth) {
    if (depth > kMostDeep) return false;
    skip_blanks();
    if (at_ >= in_.size()) return false;
    switch (in_[at_]) {
      case '{': return object(depth);
      case '[': return list(depth);
      case '"': return text();
      case 'n': return word("null", 0xc0);
      case 't': return word("true", 0xc3);
      case 'f': return word("false", 0xc2);
      default: return number();
    }
  }

  bool word(std::string_view expected, std::uint8_t byte) {
    if (in_.substr(at_, expected.size()) != expected) return false;
    at_ += expected.size();
    put(byte);
    return true;
  }

  bool number() {
    const char* const from = in_.data() + at_;
    const char* const end = in_.data() + in_.size();
    const bool is_negative = *from == '-';
    const char* const digits = from + (is_negative ? 1 : 0);
    // A leading zero is no JSON, or the only digit; "-0" is for the library.
    if (digits >= end || *digits < '0' || *digits > '9') return false;
    if (*digits == '0' && (is_negative || (digits + 1 < end && digits[1] >= '0' && digits[1] <= '9'))) return false;
    std::uint64_t n = 0;
    std::int64_t below = 0;
    const auto [after, error] = is_negative ? std::from_chars(from, end, below) : std::from_chars(from, end, n);
    if (error != std::errc()) return false;
    if (after < end && (*after == '.' || *after == 'e' || *after == 'E')) return false;
    at_ = static_cast<std::size_t>(after - in_.data());
    is_negative ? put_negative(below) : put_number(n);
    return true;
  }
  void put_number(std::uint64_t n) {
    if (n < 0x80) return put(static_cast<std::uint8_t>(n));
    if (n < 0x100) return put(0xcc, n, 1);
    if (n < 0x1'0000) return put(0xcd, n, 2);
    if (n < 0x1'0000'0000) return put(0xce, n, 4);
    put(0xcf, n, 8);
  }
  void put_negative(std::int64_t n) {
    const auto bits = static_cast<std::uint64_t>(n);
    if (n >= -0x20) return put(static_cast<std::uint8_t>(bits));
    if (n >= -0x80) return put(0xd0, bits, 1);
    if (n >= -0x8000) return put(0xd1, bits, 2);
    if (n >= -0x8000'0000ll) return put(0xd2, bits, 4);
    put(0xd3, bits, 8);
  }

  bool raw_text(std::string_view& found) {
    if (!skip('"')) return false;
    const std::size_t end = in_.find('"', at_);
    if (end == std::string_view::npos) return false;
    found = in_.substr(at_, end - at_);
    at_ = end + 1;
    return is_plain(found);  // neither escapes nor anything that must be one
  }
  bool text() {
    std::string_view found;
    if (!raw_text(found) || found.size() > std::numeric_limits<std::uint32_t>::max()) return false;
    put_text(found);
    return true;
  }
  void put_text(std::string_view text) {
    if constexpr (!kWrites) return;
    const std::size_t n = text.size();
    if (n <= kMostShort) {
      put(static_cast<std::uint8_t>(0xa0 | n));
    } else if (n < 0x100) {
      put(0xd9, n, 1);
    } else if (n < 0x1'0000) {
      put(0xda, n, 2);
    } else {
      put(0xdb, n, 4);
    }
    out_ += text;
  }

  void count(std::size_t head, std::size_t byte) {
    if constexpr (kWrites) out_[head] = static_cast<char>(byte);
  }
  // Few enough that their count can be put into the byte that stands before them.
  bool object(int depth) {
    Names names;
    const std::size_t head = out_.size();
    put(0x80);
    ++at_;
    if (skip('}')) return true;
    for (std::size_t n = 1; n <= kMostMembers; ++n) {
      std::string_view name;
      if (!raw_text(name) || !names.add(name) || name.size() > kMostShort) return false;
      put_text(name);
      if (!skip(':') || !value(depth + 1)) return false;
      count(head, 0x80 | n);
      if (skip('}')) return true;
      if (!skip(',')) return false;
    }
    return false;
  }
  bool list(int depth) {
    const std::size_t head = out_.size();
    put(0x90);
    ++at_;
    if (skip(']')) return true;
    for (std::size_t n = 1; n <= kMostMembers; ++n) {
      if (!value(depth + 1)) return false;
      count(head, 0x90 | n);
      if (skip(']')) return true;
      if (!skip(',')) return false;
    }
    return false;
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::optional<std::string> plain_json(std::string_view message_pack) { return JsonMaker(message_pack).make(); }

std::optional<std::string> plain_message_pack(std::string_view json) {
  Packer<true> packer(json);
  if (!packer.pack()) return std::nullopt;
  return std::move(packer).take();
}

bool is_plain_json(std::string_view json) { return Packer<false>(json).pack(); }

}  // namespace stem::federation
