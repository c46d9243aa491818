// Whether a text is JSON, or bytes are MessagePack, that nests no deeper than a stack can follow: the library reads
// MessagePack and writes both by recursion, so what comes from outside is looked at first.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace stem::base {

inline constexpr std::size_t kDeepestJson = 200;  // levels of lists and objects

namespace detail {

// Ends a parse that goes deeper than that.
class DepthGuard : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return deeper(); }
  bool start_array(std::size_t) override { return deeper(); }
  bool end_object() override { return --depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }
  bool went_too_deep() const { return too_deep_; }

 private:
  bool deeper() {
    too_deep_ = ++depth_ > kDeepestJson;
    return !too_deep_;
  }
  std::size_t depth_ = 0;
  bool too_deep_ = false;
};

}  // namespace detail

// True also for what is not of this format at all: that is for the parser to say.
inline bool is_shallow(std::string_view bytes, nlohmann::json::input_format_t format) {
  if (bytes.size() <= kDeepestJson) return true;
  detail::DepthGuard guard;
  (void)nlohmann::json::sax_parse(bytes.begin(), bytes.end(), &guard, format, /*strict=*/true);
  return !guard.went_too_deep();
}

}  // namespace stem::base
