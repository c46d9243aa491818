// A task on the wire: as the text fields of a stream entry, and as a JSON object (delayed set, dead letters).
// Decoding refuses as a whole, with one sentence that names the field; it never throws. Encoding is for text that was
// decoded or that is known to be right: it does not look at `args`, `headers` and `meta` again.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "federation/keys.hpp"

namespace stem::federation {

inline constexpr std::int64_t kDefaultMaxRetries = 3;

// A field that we do not know and give back as it came.
struct ForeignField {
  std::string name;
  std::string text;
  bool is_json = false;  // `text` is a JSON value other than a string
  friend bool operator==(const ForeignField&, const ForeignField&) = default;
};

// The texts belong to somebody else, who keeps them while the view is used.
struct EnvelopeView {
  std::string_view id;
  std::string_view name;
  std::string_view args = "{}";     // JSON object
  std::string_view headers = "{}";  // JSON object
  std::int64_t enqueued_at_us = 0;
  std::optional<std::int64_t> not_before_us;
  std::int64_t priority = 0;
  std::int64_t attempt = 0;
  std::int64_t max_retries = kDefaultMaxRetries;
  std::optional<std::int64_t> visibility_timeout_ms;
  std::string_view queue = "default";
  std::string_view meta = "{}";             // JSON object
  std::optional<std::string_view> payload;  // raw bytes, beside args = {}
  std::span<const ForeignField> foreign;
};

struct Envelope {
  std::string id;
  std::string name;
  std::string args = "{}";
  std::string headers = "{}";
  std::int64_t enqueued_at_us = 0;
  std::optional<std::int64_t> not_before_us;
  std::int64_t priority = 0;
  std::int64_t attempt = 0;
  std::int64_t max_retries = kDefaultMaxRetries;
  std::optional<std::int64_t> visibility_timeout_ms;
  std::string queue = "default";
  std::string meta = "{}";
  std::optional<std::string> payload;
  std::vector<ForeignField> foreign;

  // As a new one; the strings' memory is used again.
  void clear();
  EnvelopeView view() const;
  friend bool operator==(const Envelope&, const Envelope&) = default;
};

struct TextField {
  std::string_view name;
  std::string_view text;
};

// The fields of a stream entry in their order, ready for XADD. Points into the view's texts and into itself.
class StreamFields {
 public:
  explicit StreamFields(const EnvelopeView& envelope);
  StreamFields(const StreamFields&) = delete;
  StreamFields& operator=(const StreamFields&) = delete;

  std::span<const TextField> fields() const { return fields_; }
  // name, text, name, text, ... behind what is in `argv`.
  void append_to(std::vector<std::string_view>& argv) const;

 private:
  std::string_view number(std::int64_t value);
  std::string_view time(std::int64_t time_us);

  std::array<char, 192> scratch_{};
  std::size_t used_ = 0;
  std::array<TextField, 13> known_{};
  std::vector<TextField> with_foreign_;  // only when there are foreign fields
  std::span<const TextField> fields_;
};

// Into `out`, whose strings' memory is used again. `out` means nothing when it fails.
Result<void> decode_fields(std::span<const TextField> fields, Envelope& out);

void append_json(std::string& out, const EnvelopeView& envelope);
Result<void> decode_json(std::string_view text, Envelope& out);

}  // namespace stem::federation
