// Payloads and results as the wire's JSON. Our programs encode values as MessagePack, others send JSON; what a
// handler gets is the same either way.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace stem::federation {

// The JSON of a MessagePack value; empty when the bytes are not one, or would not come back the same.
std::optional<std::string> json_of_message_pack(std::string_view bytes);
// And back; empty when the text is not JSON.
std::optional<std::string> message_pack_of_json(std::string_view text);

// In `meta`: the handler's bytes were this JSON text itself.
inline constexpr std::string_view kJsonTextMember = "stem.jsonText";

}  // namespace stem::federation
