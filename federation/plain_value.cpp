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

// Goes on behind what is not plain, to the end: only what ends there is MessagePack.
class JsonMaker {
 public:
  JsonMaker(std::string_view bytes, std::string& out) : in_(bytes), out_(out) { out_.clear(); }

  PlainValue make() {
    if (value(0) && at_ != in_.size()) kind_ = PlainValue::kNotMessagePack;
    return kind_;
  }

 private:
  // No reader goes on from here.
  bool broken() {
    kind_ = PlainValue::kNotMessagePack;
    return false;
  }
  // Not plain, and of a known length.
  bool other() {
    kind_ = PlainValue::kOther;
    return true;
  }
  bool skip(std::uint64_t bytes) {
    if (in_.size() - at_ < bytes) return broken();
    at_ += bytes;
    return other();
  }

  bool value(int depth) {
    if (depth > kMostDeep) {
      kind_ = PlainValue::kOther;
      return false;
    }
    if (at_ >= in_.size()) return broken();
    const auto head = static_cast<std::uint8_t>(in_[at_++]);
    if (head < 0x80) return integer<std::uint64_t>(head);
    if (head < 0x90) return object(head & 0x0f, depth);
    if (head < 0xa0) return list(head & 0x0f, depth);
    if (head < 0xc0) return text(head & 0x1f);
    if (head >= 0xe0) return integer<std::int64_t>(static_cast<std::int8_t>(head));
    switch (head) {
      case 0xc0: return word("null");
      case 0xc1: return broken();
      case 0xc2: return word("false");
      case 0xc3: return word("true");
      case 0xc4: return long_binary(1, 0);
      case 0xc5: return long_binary(2, 0);
      case 0xc6: return long_binary(4, 0);
      case 0xc7: return long_binary(1, 1);  // with a byte that says what it is
      case 0xc8: return long_binary(2, 1);
      case 0xc9: return long_binary(4, 1);
      case 0xca: return skip(4);
      case 0xcb: return skip(8);
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
      case 0xdc:
      case 0xdd: return long_list(head == 0xdc ? 2 : 4, depth);
      case 0xde:
      case 0xdf: return long_object(head == 0xde ? 2 : 4, depth);
      default: return skip((std::uint64_t{1} << (head - 0xd4)) + 1);  // 0xd4 to 0xd8
    }
  }

  bool take(int bytes, std::uint64_t& into) {
    if (in_.size() - at_ < static_cast<std::size_t>(bytes)) return broken();
    into = 0;
    for (int i = 0; i < bytes; ++i) into = into << 8 | static_cast<std::uint8_t>(in_[at_++]);
    return true;
  }

  // `least`: what is below it has a shorter form, which the library would have chosen.
  bool number(int bytes, std::uint64_t least) {
    std::uint64_t n = 0;
    return take(bytes, n) && (n >= least ? integer(n) : other());
  }
  // `below`: and what is not below that.
  bool negative(int bytes, std::int64_t below) {
    std::uint64_t n = 0;
    if (!take(bytes, n)) return false;
    const auto value = static_cast<std::int64_t>(n << (64 - 8 * bytes)) >> (64 - 8 * bytes);
    return value < below ? integer(value) : other();
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
  bool long_binary(int bytes, std::uint64_t more) {
    std::uint64_t n = 0;
    return take(bytes, n) && skip(n + more);
  }

  bool long_text(int bytes, std::uint64_t least) {
    std::uint64_t n = 0;
    if (!take(bytes, n)) return false;
    return n >= least ? text(n) : skip(n);
  }
  bool text(std::uint64_t bytes) {
    std::string_view found;
    if (!raw_text(bytes, found)) return false;
    out_ += '"';
    out_ += found;
    out_ += '"';
    return true;
  }
  bool raw_text(std::uint64_t bytes, std::string_view& found) {
    if (in_.size() - at_ < bytes) return broken();
    found = in_.substr(at_, bytes);
    at_ += bytes;
    return is_plain(found) || other();
  }

  bool name(std::string_view& name) {
    if (at_ >= in_.size()) return broken();
    const auto head = static_cast<std::uint8_t>(in_[at_++]);
    if ((head & 0xe0) == 0xa0) return raw_text(head & 0x1f, name);
    if (head < 0xd9 || head > 0xdb) return broken();  // a name is a string
    std::uint64_t n = 0;
    return take(1 << (head - 0xd9), n) && skip(n);
  }
  bool object(std::size_t members, int depth) {
    Names names;
    out_ += '{';
    for (std::size_t i = 0; i < members; ++i) {
      if (i > 0) out_ += ',';
      std::string_view member;
      if (!name(member)) return false;
      if (!names.add(member)) (void)other();
      out_ += '"';
      out_ += member;
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
  // What is announced ends with the bytes at the latest.
  bool long_list(int bytes, int depth) {
    std::uint64_t n = 0;
    if (!take(bytes, n)) return false;
    for (; n > 0; --n)
      if (!value(depth + 1)) return false;
    return other();
  }
  bool long_object(int bytes, int depth) {
    std::uint64_t n = 0;
    if (!take(bytes, n)) return false;
    for (std::string_view member; n > 0; --n)
      if (!name(member) || !value(depth + 1)) return false;
    return other();
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::string& out_;
  PlainValue kind_ = PlainValue::kPlain;
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

PlainValue plain_json(std::string_view message_pack, std::string& json) { return JsonMaker(message_pack, json).make(); }

std::optional<std::string> plain_message_pack(std::string_view json) {
  Packer<true> packer(json);
  if (!packer.pack()) return std::nullopt;
  return std::move(packer).take();
}

bool is_plain_json(std::string_view json) { return Packer<false>(json).pack(); }

}  // namespace stem::federation
