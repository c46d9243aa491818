// stem-man DIRECTORY: writes the manual pages there. Run by the build; not installed.
#include <cstdio>
#include <fstream>

#include "tools/man/man_page.hpp"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: stem-man DIRECTORY\n");
    return 2;
  }
  for (const stem::man::ManPage& page : stem::man::man_pages()) {
    const std::string path = std::string(argv[1]) + "/" + page.file;
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << page.text;
    if (!file.flush()) {
      std::fprintf(stderr, "stem-man: cannot write %s\n", path.c_str());
      return 70;
    }
  }
  return 0;
}
