// What the frame hands to a running command.
#pragma once

#include <string>

#include "tools/stem/config.hpp"
#include "tools/stem/terminal.hpp"

namespace stem::cli {

struct Context {
  Config config;               // every setting, with where it came from
  std::string namespace_name;  // config's "namespace"
  bool json = false;           // commands that read
  bool yes = false;            // commands that destroy
  bool dry_run = false;        // commands that destroy
  Style style;                 // of stdout
};

}  // namespace stem::cli
