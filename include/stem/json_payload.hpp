// JSON as people type it, and the bytes that tasks carry. For command lines and pages that show
// payloads of tasks whose types they do not know.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "stem/codec.hpp"

namespace stem {

// A JSON text becomes the payload of a task: a string its bytes, everything else MessagePack. Whole
// numbers below 128 take two bytes, so that a payload of one printable byte is always text.
// kInvalidArgument, with the place, when the text is not JSON.
Result<std::string> json_to_payload(std::string_view json_text);

// What a payload or result most likely says: null when empty; an object, array or value when it is
// MessagePack; a string when it is UTF-8 text; a number when it is one stored in place; otherwise
// {"bytes": <size>, "hex": "<the first 64>"}, with "layout" for other in-place objects.
nlohmann::json payload_to_json(BytesView payload);

// The same without a guess at the end: nothing when the bytes are none of these.
std::optional<nlohmann::json> payload_as_json(BytesView payload);

}  // namespace stem
