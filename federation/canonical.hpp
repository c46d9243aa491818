// What a signature is made over: the canonical form of an envelope, as Stem's Dart side has it (docs/federation.md,
// "Signing"). It follows from what an envelope says, not from how it was written: two texts of one envelope have one
// form, and an envelope that says anything else has another.
#pragma once

#include <string>
#include <string_view>

#include "federation/envelope.hpp"

namespace stem::federation {

inline constexpr std::string_view kSignatureHeader = "stem-signature";
inline constexpr std::string_view kSignatureKeyHeader = "stem-signature-key";

// The form of a JSON text; false when it is none. The members of an object stand in the order of their names by
// UTF-16 unit (of those with one name, in the order they came); below kMostSortedDeep levels, in the order they came.
inline constexpr std::size_t kMostSortedDeep = 200;  // what an enemy sends costs no more than so many passes over it
[[nodiscard]] bool append_canonical_json(std::string& out, std::string_view json);

// A JSON object without blanks, its members sorted. Without the two headers above, and without foreign fields. False
// when one of its texts is not the JSON object that it is to be.
[[nodiscard]] bool append_canonical(std::string& out, const EnvelopeView& envelope);

// A double as Dart prints it: "1.0", "1e+21", "0.000001", "1e-7". `value` is finite.
void append_dart_double(std::string& out, double value);

}  // namespace stem::federation
