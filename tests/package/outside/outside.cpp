// What a user of the installed package compiles: public headers by name, code from the libraries.
#include <cstdio>
#include <string>

#include "stem/result.hpp"
#include "stem/version.hpp"

int main() {
  const std::string word(stem::to_string(stem::Errc::kFull));
  if (word.empty()) return 1;
  std::printf("stem %.*s\n", static_cast<int>(stem::kVersion.size()), stem::kVersion.data());
  return 0;
}
