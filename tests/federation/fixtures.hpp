// The files of tests/federation/fixtures (README.md there).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "federation/envelope.hpp"

namespace stem::test {

// What the signed ones are signed with.
inline constexpr const char* kSecret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

// Names of the files that begin with `prefix`, sorted.
std::vector<std::string> fixture_names(const std::string& prefix);
std::string fixture_text(const std::string& name);

// Name and text of each field of a stream entry, with `\xHH` made bytes.
using OwnedFields = std::vector<std::pair<std::string, std::string>>;
OwnedFields parse_stream_fixture(const std::string& text);
std::vector<federation::TextField> views_of(const OwnedFields& fields);

struct Poison {
  std::string why;  // a part of the error's sentence
  std::string text;
};
Poison parse_poison(const std::string& text);

}  // namespace stem::test
