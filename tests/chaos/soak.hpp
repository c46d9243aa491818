// Many chaos runs one after another, added up in a file, so that the sum can go on another day.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tests/chaos/arena.hpp"

namespace stem::chaos {

nlohmann::json to_document(const Report& report);
// Numbers are added, lists joined; a run that was not clean leaves the sum not clean.
void add_to(nlohmann::json& sum, const nlohmann::json& one);
std::string to_text(const std::string& title, const nlohmann::json& report);

// Runs rounds of options.minutes until `tasks` are accounted for, going on from options.output/soak.json if it is
// there. Ends at once with the first round that is not clean. 0 = the sum is clean.
int soak(const Options& options, std::uint64_t tasks);

}  // namespace stem::chaos
