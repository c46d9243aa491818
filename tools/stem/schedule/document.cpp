#include "tools/stem/schedule/document.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "beat/entry.hpp"

namespace stem::cli {

using nlohmann::json;

namespace {

constexpr std::size_t kMostNodes = 200'000;  // aliases of aliases grow without end

Error refusal(int line, std::string_view message) {
  return {Errc::kInvalidArgument, fmt::format("line {}: {}", line, message)};
}

// YAML 1.2's core schema: what a plain scalar means.
json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const char* end = text.data() + text.size();
  const auto whole = [&](std::string_view digits, int base) -> std::optional<json> {
    std::uint64_t value = 0;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (read.ec != std::errc() || read.ptr != digits.data() + digits.size() || digits.empty()) return std::nullopt;
    return json(value);
  };
  if (text.starts_with("0x"))
    if (auto value = whole(std::string_view(text).substr(2), 16)) return *value;
  if (text.starts_with("0o"))
    if (auto value = whole(std::string_view(text).substr(2), 8)) return *value;
  if (auto value = whole(text, 10)) return *value;
  std::int64_t negative = 0;
  if (const auto read = std::from_chars(text.data(), end, negative); read.ec == std::errc() && read.ptr == end)
    return negative;
  if (text.find_first_not_of("+-.0123456789eE") == std::string::npos &&
      text.find_first_of("0123456789") != std::string::npos) {
    double number = 0;
    const char* begin = text.data() + (text[0] == '+' ? 1 : 0);
    const auto read = std::from_chars(begin, end, number);
    if (read.ec == std::errc() && read.ptr == end && std::isfinite(number)) return number;
  }
  return text;
}

bool is_utf8(const std::string& text) {
  try {
    (void)json(text).dump();
    return true;
  } catch (const json::exception&) {
    return false;
  }
}

class FromYaml {
 public:
  explicit FromYaml(Document& into) : into_(into) {}

  Result<json> convert(const YAML::Node& node, const std::string& pointer, int depth) {
    const int line = node.Mark().line + 1;
    if (!into_.lines.contains(pointer)) into_.lines[pointer] = line;
    if (depth > beat::kDeepestJson)
      return refusal(line, fmt::format("more than {} levels of lists and objects", beat::kDeepestJson));
    if (++nodes_ > kMostNodes) return refusal(line, fmt::format("more than {} values", kMostNodes));
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        if (!is_utf8(node.Scalar())) return refusal(line, "a text is not UTF-8");
        return node.Tag() == "!" ? json(node.Scalar()) : plain_scalar(node.Scalar());
      case YAML::NodeType::Sequence: return list(node, pointer, depth);
      case YAML::NodeType::Map: return object(node, pointer, depth);
      default: return json(nullptr);
    }
  }

 private:
  Result<json> list(const YAML::Node& node, const std::string& pointer, int depth) {
    json out = json::array();
    for (std::size_t i = 0; i < node.size(); ++i) {
      auto value = convert(node[i], pointer + "/" + std::to_string(i), depth + 1);
      if (!value.ok()) return value;
      out.push_back(std::move(*value));
    }
    return out;
  }

  Result<json> object(const YAML::Node& node, const std::string& pointer, int depth) {
    json out = json::object();
    for (const auto& member : node) {
      const int line = member.first.Mark().line + 1;
      if (!member.first.IsScalar() || !is_utf8(member.first.Scalar())) return refusal(line, "a key is not a text");
      const std::string& key = member.first.Scalar();
      if (out.contains(key)) return refusal(line, fmt::format("the key \"{}\" stands twice", key));
      const std::string below = pointer + "/" + pointer_step(key);
      into_.lines[below] = line;
      auto value = convert(member.second, below, depth + 1);
      if (!value.ok()) return value;
      out[key] = std::move(*value);
    }
    return out;
  }

  Document& into_;
  std::size_t nodes_ = 0;
};

Result<void> read_yaml(const std::string& text, Document& document) {
  try {
    auto value = FromYaml(document).convert(YAML::Load(text), "", 0);
    if (!value.ok()) return value.error();
    document.value = std::move(*value);
    return {};
  } catch (const YAML::Exception& e) {
    return refusal(std::max(e.mark.line, 0) + 1, "not YAML: " + e.msg);
  }
}

}  // namespace

std::string pointer_step(std::string_view key) {
  std::string out;
  for (const char c : key) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

int Document::line_of(std::string pointer) const {
  for (;;) {
    if (const auto found = lines.find(pointer); found != lines.end()) return found->second;
    if (pointer.empty()) return 0;
    pointer.resize(pointer.rfind('/'));
  }
}

Result<Document> parse_document(const std::string& text) {
  Document document;
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  const bool maybe_json = first != std::string::npos && (text[first] == '{' || text[first] == '[');
  if (maybe_json && beat::json_depth(text) > beat::kDeepestJson)
    return refusal(1, fmt::format("more than {} levels of lists and objects", beat::kDeepestJson));
  // JSON is YAML, but for escapes beyond the 16-bit plane: its values come from the JSON parser.
  json strict = maybe_json ? json::parse(text, nullptr, /*allow_exceptions=*/false) : json(json::value_t::discarded);
  const auto read = read_yaml(text, document);
  if (strict.is_discarded()) {
    if (!read.ok()) return read.error();
    return document;
  }
  if (!read.ok() && read.error().message.find("stands twice") != std::string::npos) return read.error();
  document.value = std::move(strict);
  return document;
}

}  // namespace stem::cli
