// One thing that `stem doctor` looked at. Every check really tries, or reads what the kernel says now; a
// check that cannot be made (no such file on this kernel) says so in `found` and is not a warning.
#pragma once

#include <string>
#include <vector>

namespace stem::cli {

enum class Verdict { kOk, kWarn, kFail };  // kFail: Stem, or a promise of it, will not work here

struct Finding {
  std::string name;  // stable, for programs: "huge-pages"
  Verdict verdict = Verdict::kOk;
  std::string found;         // one line
  std::string why;           // why it matters
  std::string mend;          // how to mend it
  std::string command = {};  // what to run for that, ready to be pasted; may be empty
};

// Each adds its findings in the order of the report.
void check_memory(std::vector<Finding>& findings);
void check_processors(std::vector<Finding>& findings);
void check_kernel(std::vector<Finding>& findings);

}  // namespace stem::cli
