#include "federation/payload_text.hpp"

#include <nlohmann/json.hpp>
#include <span>

#include "federation/plain_value.hpp"

namespace stem::federation {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMostDeep = 200;  // documents are walked by recursion

// Ends a parse that goes deeper than that.
class DepthGuard : public nlohmann::json_sax<ordered_json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return ++depth_ <= kMostDeep; }
  bool start_array(std::size_t) override { return ++depth_ <= kMostDeep; }
  bool end_object() override { return --depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  std::size_t depth_ = 0;
};

bool is_shallow(std::string_view bytes, ordered_json::input_format_t format) {
  if (bytes.size() <= kMostDeep) return true;
  DepthGuard guard;
  return ordered_json::sax_parse(bytes.begin(), bytes.end(), &guard, format, /*strict=*/true);
}

std::string packed(const ordered_json& value) {
  std::string bytes;
  ordered_json::to_msgpack(value, bytes);
  return bytes;
}

}  // namespace

std::optional<std::string> json_of_message_pack(std::string_view bytes) {
  if (auto plain = plain_json(bytes)) return plain;
  if (!is_shallow(bytes, ordered_json::input_format_t::msgpack)) return std::nullopt;
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
  if (!is_shallow(text, ordered_json::input_format_t::json)) return std::nullopt;
  const ordered_json value = ordered_json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return std::nullopt;
  return packed(value);
}

}  // namespace stem::federation
