// The W3C trace context that a task carries in its headers (https://www.w3.org/TR/trace-context/).
#pragma once

#include <string_view>

namespace stem::engine {

// The value of "traceparent" in headers (a JSON object of texts, as the front door writes it); empty when there is none
// of the right form: 00-32 hexadecimal digits-16-2.
std::string_view traceparent_of(std::string_view headers) noexcept;

}  // namespace stem::engine
