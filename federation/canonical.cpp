#include "federation/canonical.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/check.hpp"
#include "federation/iso_time.hpp"
#include "federation/json_text.hpp"

namespace stem::federation {
namespace {

using nlohmann::json;

// UTF-8 by the order of UTF-16: as bytes, but what needs two units (from U+10000) comes before U+E000 to U+FFFF.
bool utf16_less(std::string_view a, std::string_view b) {
  const auto [at, other] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (at == a.end() || other == b.end()) return at == a.end() && other != b.end();
  const auto rank = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0xf0 ? byte - 0xf0 + 0xee : byte >= 0xee ? byte + 0x10 : int{byte};
  };
  return rank(*at) < rank(*other);
}

// Writes the form while the text is read. A member is written where it stands, and an object is put in order at its
// end if it is not yet.
class CanonicalWriter : public nlohmann::json_sax<json> {
 public:
  explicit CanonicalWriter(std::string& out) : out_(out) {}

  bool null() override { return word("null"); }
  bool boolean(bool value) override { return word(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return word(fmt::format_int(value).str()); }
  bool number_unsigned(number_unsigned_t value) override { return word(fmt::format_int(value).str()); }
  // Also whole numbers beyond 64 bits: those stay as they are written, so that no digit is without a signature.
  bool number_float(number_float_t value, const string_t& text) override {
    if (text.find_first_of(".eE") == text.npos) return word(text);
    begin_value();
    append_dart_double(out_, value);
    return true;
  }
  bool string(string_t& value) override {
    begin_value();
    append_json_string(out_, value);
    return true;
  }
  bool binary(binary_t&) override { return false; }  // not in JSON
  bool key(string_t& name) override {
    Frame& frame = frames_.back();
    if (!frame.members.empty()) frame.members.back().end = out_.size();
    if (frame.count++ > 0) out_ += ',';
    if (frames_.size() <= kMostSortedDeep) frame.members.push_back({name, out_.size(), 0});
    append_json_string(out_, name);
    out_ += ':';
    return true;
  }
  bool start_object(std::size_t) override { return open('{'); }
  bool start_array(std::size_t) override { return open('['); }
  bool end_object() override {
    Frame& frame = frames_.back();
    if (!frame.members.empty()) frame.members.back().end = out_.size();
    sort(frame);
    frames_.pop_back();
    out_ += '}';
    return true;
  }
  bool end_array() override {
    frames_.pop_back();
    out_ += ']';
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  struct Member {
    std::string name;
    std::size_t begin, end;  // in out_, with the name
  };
  struct Frame {
    std::vector<Member> members;  // of an object that is to be sorted
    std::size_t count = 0;
    bool is_array = false;
  };

  void begin_value() {
    if (frames_.empty()) return;
    Frame& frame = frames_.back();
    if (frame.is_array && frame.count++ > 0) out_ += ',';
  }
  bool word(std::string_view text) {
    begin_value();
    out_ += text;
    return true;
  }
  bool open(char bracket) {
    begin_value();
    out_ += bracket;
    frames_.emplace_back().is_array = bracket == '[';
    return true;
  }
  void sort(Frame& frame) {
    const auto less = [](const Member& a, const Member& b) { return utf16_less(a.name, b.name); };
    if (std::is_sorted(frame.members.begin(), frame.members.end(), less)) return;
    const std::size_t begin = frame.members.front().begin;
    std::stable_sort(frame.members.begin(), frame.members.end(), less);
    std::string sorted;
    sorted.reserve(out_.size() - begin);
    for (const Member& member : frame.members) {
      if (!sorted.empty()) sorted += ',';
      sorted.append(out_, member.begin, member.end - member.begin);
    }
    out_.replace(begin, out_.npos, sorted);
  }

  std::string& out_;
  std::vector<Frame> frames_;
};

bool is_signature_header(const JsonMember& header) {
  return header.name == kSignatureHeader || header.name == kSignatureKeyHeader;
}

bool append_headers(std::string& out, std::string_view headers) {
  if (headers == "{}") return append_canonical_json(out, headers);
  const auto members = json_members(headers);
  if (!members.ok()) return false;
  if (std::none_of(members->begin(), members->end(), is_signature_header)) return append_canonical_json(out, headers);
  std::string rest = "{";
  for (const JsonMember& header : *members) {
    if (is_signature_header(header)) continue;
    if (rest.size() > 1) rest += ',';
    append_json_string(rest, header.name);
    rest += ':';
    rest += header.value;
  }
  return append_canonical_json(out, rest += '}');
}

void append_time(std::string& out, std::int64_t time_us) {
  out += '"';
  append_iso_time(out, time_us);
  out += '"';
}

}  // namespace

bool append_canonical_json(std::string& out, std::string_view text) {
  if (text == "{}") {
    out += text;
    return true;
  }
  CanonicalWriter writer(out);
  return json::sax_parse(text.begin(), text.end(), &writer);
}

bool append_canonical(std::string& out, const EnvelopeView& e) {
  const auto text = [&out](std::string_view name, std::string_view value) {
    out += name;
    append_json_string(out, value);
  };
  const auto number = [&out](std::string_view name, std::int64_t value) {
    out += name;
    out += fmt::format_int(value).str();
  };
  out += "{\"args\":";
  if (!append_canonical_json(out, e.args)) return false;
  number(",\"attempt\":", e.attempt);
  out += ",\"enqueuedAt\":";
  append_time(out, e.enqueued_at_us);
  out += ",\"headers\":";
  if (!append_headers(out, e.headers)) return false;
  text(",\"id\":", e.id);
  number(",\"maxRetries\":", e.max_retries);
  out += ",\"meta\":";
  if (!append_canonical_json(out, e.meta)) return false;
  text(",\"name\":", e.name);
  out += ",\"notBefore\":";
  if (e.not_before_us)
    append_time(out, *e.not_before_us);
  else
    out += "null";
  if (e.payload) {  // ours; the others of the wire have none
    out += ",\"payload\":\"";
    append_base64(out, *e.payload);
    out += '"';
  }
  number(",\"priority\":", e.priority);
  text(",\"queue\":", e.queue);
  if (e.visibility_timeout_ms)
    number(",\"visibilityTimeoutMs\":", *e.visibility_timeout_ms);
  else
    out += ",\"visibilityTimeoutMs\":null";
  out += '}';
  return true;
}

// The shortest digits that read back as the value, in the layout of ECMAScript's Number::toString, with ".0" behind
// what would look like an integer.
void append_dart_double(std::string& out, double value) {
  std::array<char, 32> scratch;
  const auto [end, error] =
      std::to_chars(scratch.data(), scratch.data() + scratch.size(), value, std::chars_format::scientific);
  STEM_CHECK(error == std::errc());
  std::string_view text(scratch.data(), static_cast<std::size_t>(end - scratch.data()));
  if (text.front() == '-') {
    out += '-';
    text.remove_prefix(1);
  }
  const std::size_t e = text.find('e');
  std::string digits(text.substr(0, 1));
  if (e > 2) digits += text.substr(2, e - 2);
  int exponent = 0;
  const std::size_t sign = text[e + 1] == '+' ? 2 : 1;  // from_chars takes '-' alone
  (void)std::from_chars(text.data() + e + sign, text.data() + text.size(), exponent);
  const int point = exponent + 1;  // where it stands among the digits
  const int count = static_cast<int>(digits.size());
  if (point > 21 || point <= -6) {
    out += digits[0];
    if (count > 1) out.append(".").append(digits, 1);
    fmt::format_to(std::back_inserter(out), "e{:+}", exponent);
  } else if (point <= 0) {
    out.append("0.").append(static_cast<std::size_t>(-point), '0').append(digits);
  } else if (point >= count) {
    out.append(digits).append(static_cast<std::size_t>(point - count), '0').append(".0");
  } else {
    out.append(digits, 0, static_cast<std::size_t>(point)).append(".").append(digits, static_cast<std::size_t>(point));
  }
}

}  // namespace stem::federation
