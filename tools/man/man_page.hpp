// Manual pages of `stem`, made from the command table: what --help says, as man(7) wants it. One page for the
// program, and one for each first word (stem-worker.1 has worker start, worker status, ...).
#pragma once

#include <string>
#include <vector>

namespace stem::man {

struct ManPage {
  std::string file;  // "stem-worker.1"
  std::string text;
};

std::vector<ManPage> man_pages();

}  // namespace stem::man
