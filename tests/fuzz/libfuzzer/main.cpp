// One target under libFuzzer: stem-fuzz --target=envelope [libFuzzer's flags] CORPUS...
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/fuzz/targets.hpp"

namespace {
const stem::fuzz::Target* chosen = nullptr;
}

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  constexpr const char* kFlag = "--target=";
  for (int i = 1; i < *argc; ++i)
    for (const stem::fuzz::Target& target : stem::fuzz::kTargets)
      if (std::strncmp((*argv)[i], kFlag, std::strlen(kFlag)) == 0 &&
          std::strcmp((*argv)[i] + std::strlen(kFlag), target.name) == 0)
        chosen = &target;
  if (chosen != nullptr) return 0;
  std::fputs("usage: stem-fuzz --target=NAME [libFuzzer's flags] CORPUS...\ntargets:", stderr);
  for (const stem::fuzz::Target& target : stem::fuzz::kTargets) std::fprintf(stderr, " %s", target.name);
  std::fputs("\n", stderr);
  std::exit(2);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  chosen->run({data, size});
  return 0;
}
