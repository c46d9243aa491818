// Before a command destroys something. Declare it with the trait kDestroys, then:
//
//   switch (ask_consent(context, "purge 12 dead letters of queue mail")) {
//     case Consent::kDryRun: return kExitOk;       // it has been said what would be done
//     case Consent::kRefused: return kExitUsage;   // it has been said how to allow it
//     case Consent::kGiven: break;
//   }
#pragma once

#include <string_view>

#include "tools/stem/context.hpp"

namespace stem::cli {

enum class Consent { kGiven, kDryRun, kRefused };

// `action` reads after "would". With neither --yes nor --dry-run a person at a terminal is asked, and a
// script is refused.
[[nodiscard]] Consent ask_consent(const Context& context, std::string_view action);

}  // namespace stem::cli
