#include "tools/stem/consent.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <string>

namespace stem::cli {

Consent ask_consent(const Context& context, std::string_view action) {
  const std::string shown = printable(action);
  if (context.dry_run) {
    // With --json the document on stdout is the command's own.
    fmt::print(context.json ? stderr : stdout, "dry run: would {}; nothing was changed\n", shown);
    return Consent::kDryRun;
  }
  if (context.yes) return Consent::kGiven;
  if (isatty(STDIN_FILENO) == 0 || isatty(STDERR_FILENO) == 0) {
    print_error(fmt::format("this would {}; say --yes to do it, or --dry-run to see", shown));
    return Consent::kRefused;
  }
  fmt::print(stderr, "This would {}. Go on? [y/N] ", shown);
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "Y" || answer == "yes") return Consent::kGiven;
  print_error("nothing was changed");
  return Consent::kRefused;
}

}  // namespace stem::cli
