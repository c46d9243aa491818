#include "tools/stem/json_output.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

namespace stem::cli {
namespace {

// Text from a segment or a payload may be broken UTF-8; the document stays valid.
constexpr auto kBroken = nlohmann::ordered_json::error_handler_t::replace;

}  // namespace

void print_json(const nlohmann::ordered_json& document) { fmt::print("{}\n", document.dump(2, ' ', false, kBroken)); }

void print_json_line(const nlohmann::ordered_json& object) {
  fmt::print("{}\n", object.dump(-1, ' ', false, kBroken));
  std::fflush(stdout);
}

}  // namespace stem::cli
