// What may come next on a `stem` command line, from the command table. The shells' scripts only ask this,
// so they never lag behind the program and all three complete alike.
#pragma once

#include <string>
#include <vector>

namespace stem::cli {

struct Candidate {
  std::string word;
  std::string help;  // may be empty
};

struct Candidates {
  std::vector<Candidate> words;
  bool files = false;  // names of files too, which the shell knows best
};

// `words` are those after the program's name; the last is the one being typed, perhaps empty.
Candidates complete(const std::vector<std::string>& words);

}  // namespace stem::cli
