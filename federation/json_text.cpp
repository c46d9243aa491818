#include "federation/json_text.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/check.hpp"
#include "federation/plain_value.hpp"

namespace stem::federation {
namespace {

using nlohmann::json;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Takes a text that is known to be JSON apart; so it needs to know where strings and brackets end, and no more.
class Splitter {
 public:
  explicit Splitter(std::string_view text, std::size_t at = 0) : text_(text), at_(at) {}

  std::size_t at() const { return at_; }
  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }
  void skip(char expected) {
    skip_blanks();
    STEM_CHECK(at_ < text_.size() && text_[at_] == expected);  // it has been validated
    ++at_;
    skip_blanks();
  }
  bool skip_if(char wanted) {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  std::string_view string() {
    const std::size_t start = at_++;
    while (text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    return text_.substr(start, ++at_ - start);
  }
  std::string_view value() {
    const std::size_t start = at_;
    std::size_t depth = 0;
    do {
      const char c = text_[at_];
      if (c == '"') {
        string();
      } else if (c == '{' || c == '[') {
        ++depth;
        ++at_;
      } else if (c == '}' || c == ']') {
        if (depth == 0) break;  // the end of the object this value is in
        --depth;
        ++at_;
      } else if (depth == 0 && c == ',') {
        break;
      } else {
        ++at_;
      }
    } while (at_ < text_.size());
    return trimmed(text_.substr(start, at_ - start));
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

// The library stops at a NUL as if the text ended there, and skips a byte order mark; both hide what follows or stands
// before, so neither is JSON here.
bool accepted(std::string_view text) {
  if (is_plain_json(text)) return true;
  return !text.starts_with('\xef') && text.find('\0') == std::string_view::npos && json::accept(text);
}

// What is wrong with a text that was not accepted, in one sentence.
Error not_json(std::string_view text) {
  try {
    [[maybe_unused]] const auto parsed = json::parse(text);
  } catch (const json::exception& e) {
    std::string why = e.what();
    if (const std::size_t end = why.find("] "); end != std::string::npos) why.erase(0, end + 2);
    return {Errc::kInvalidArgument, fmt::format("not JSON: {:.160}", why)};
  }
  return {Errc::kInvalidArgument, "not JSON"};
}

}  // namespace

bool is_json(std::string_view text) { return accepted(text); }

bool is_json_object(std::string_view text) {
  if (text == "{}") return true;  // what most tasks have in two of three places
  return trimmed(text).starts_with('{') && accepted(text);
}

bool is_utf8(std::string_view text) {
  unsigned char seen = 0;  // without a way out, so many bytes at a time
  for (const char c : text) seen |= static_cast<unsigned char>(c);
  if (seen < 0x80) return true;
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    quoted += byte < 0x20 || c == '"' || c == '\\' ? '?' : c;  // only the encoding is in question
  }
  quoted += '"';
  return json::accept(quoted);
}

Result<std::vector<JsonMember>> json_members(std::string_view text) {
  text = trimmed(text);
  if (!accepted(text)) return not_json(text);
  if (!text.starts_with('{')) return Error{Errc::kInvalidArgument, "not a JSON object"};
  std::vector<JsonMember> members;
  MemberReader in(text);
  for (JsonMember member; in.next(member);) members.push_back(std::move(member));
  return members;
}

MemberReader::MemberReader(std::string_view object) : text_(trimmed(object)) {
  STEM_CHECK(text_.starts_with('{') && text_.ends_with('}'));  // it has been validated
}

bool MemberReader::next(JsonMember& member) {
  Splitter in(text_, at_);
  if (in.skip_if('}')) return false;
  (void)in.skip_if(',');
  in.skip_blanks();
  const std::string_view name = in.string();
  if (name.find('\\') == std::string_view::npos)
    member.name = name.substr(1, name.size() - 2);
  else
    member.name = json_string_value(name);
  in.skip(':');
  member.value = in.value();
  at_ = in.at();
  return true;
}

std::string json_string_value(std::string_view value) {
  STEM_CHECK(value.size() >= 2 && value.front() == '"' && value.back() == '"');
  const std::string_view inside = value.substr(1, value.size() - 2);
  if (inside.find('\\') == std::string_view::npos) return std::string(inside);
  const json parsed = json::parse(value, nullptr, false);
  return parsed.is_string() ? parsed.get<std::string>() : std::string();
}

void append_json_string(std::string& out, std::string_view text) {
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; });
  if (!plain) {
    out += json(text).dump(-1, ' ', false, json::error_handler_t::replace);
    return;
  }
  out += '"';
  out += text;
  out += '"';
}

void append_base64(std::string& out, std::string_view bytes) {
  constexpr std::size_t kMost = 1u << 30;  // the library counts in int
  STEM_CHECK(bytes.size() <= kMost);
  std::string encoded((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int written =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.append(encoded, 0, static_cast<std::size_t>(written));
}

std::optional<std::string> decode_base64(std::string_view text) {
  constexpr std::size_t kMost = 1u << 30;
  if (text.size() % 4 != 0 || text.size() > kMost) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  // The library would skip blanks at both ends and take '=' in the middle.
  if (text.substr(0, text.size() - padding).find_first_of("= \t\r\n-") != std::string_view::npos) return std::nullopt;
  std::string decoded(text.size() / 4 * 3, '\0');
  const int written =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (written < 0 || static_cast<std::size_t>(written) < padding) return std::nullopt;
  decoded.resize(static_cast<std::size_t>(written) - padding);
  return decoded;
}

}  // namespace stem::federation
