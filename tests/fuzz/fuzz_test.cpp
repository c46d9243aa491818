// Every fuzz target over the inputs that are kept, and over changes of them from a seed. The same targets under
// libFuzzer: docs/reliability.md.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <new>

#include "base/log.hpp"
#include "mutations.hpp"
#include "targets.hpp"
#include "tests/support/process.hpp"

namespace stem::fuzz {
namespace {

std::uint64_t environment(const char* name, std::uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given == nullptr ? otherwise : std::strtoull(given, nullptr, 10);
}

class Fuzz : public ::testing::TestWithParam<Target> {};

std::filesystem::path corpus(const Target& target) {
  return std::filesystem::path(STEM_SOURCE_DIR) / "tests/fuzz/corpus" / target.name;
}

// The input that a child is at, in memory that outlives it.
struct Current {
  std::size_t bytes = 0;
  std::uint8_t data[8192];
};

Current* shared_current() {
  void* at = ::mmap(nullptr, sizeof(Current), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return at == MAP_FAILED ? nullptr : new (at) Current;
}

std::string write_down(const Current& current, const Target& target) {
  const std::string path = ::testing::TempDir() + "stem-fuzz-" + target.name + "-" + std::to_string(::getpid());
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(reinterpret_cast<const char*>(current.data), static_cast<std::streamsize>(current.bytes));
  return path;
}

// What a target allocates beside segments is bounded, too: an input has some kilobytes. (A sanitizer's own memory is
// much more; libFuzzer has a limit of its own.)
void limit_memory() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  constexpr rlim_t kMostBytes = 256u << 20;
  const rlimit limit{kMostBytes, kMostBytes};
  if (::setrlimit(RLIMIT_DATA, &limit) != 0) std::abort();
#endif
}

// In a child, so that a crash is one failed test and leaves the input behind.
TEST_P(Fuzz, TakesOrRefusesWhateverComes) {
  const Target& target = GetParam();
  const std::uint64_t seconds = environment("STEM_FUZZ_SECONDS", 1);
  const std::uint64_t seed = environment("STEM_TEST_SEED", 1);
  const std::vector<Sample> samples = read_corpus(corpus(target));
  ASSERT_FALSE(samples.empty()) << corpus(target);
  Current* const current = shared_current();
  ASSERT_NE(current, nullptr);
  test::Process child([&] {
    limit_memory();
    std::uint64_t runs = 0;
    const auto run = [&](const Sample& sample) {
      current->bytes = std::min(sample.size(), sizeof current->data);
      std::copy_n(sample.begin(), current->bytes, current->data);
      target.run(sample);
      ++runs;
    };
    for (const Sample& sample : samples) run(sample);
    base::Random random(seed);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    while (std::chrono::steady_clock::now() < end) run(mutated(samples, target.alphabet, random));
    std::printf("%s: %llu inputs, seed %llu\n", target.name, static_cast<unsigned long long>(runs),
                static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    return runs > samples.size() ? 0 : 1;
  });
  ASSERT_EQ(child.wait(static_cast<int>(seconds) * 1000 + 30'000), 0)
      << target.name << " crashed, stood still or met the unexpected with the input in "
      << write_down(*current, target);
  ::munmap(current, sizeof *current);
}

INSTANTIATE_TEST_SUITE_P(All, Fuzz, ::testing::ValuesIn(kTargets),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace stem::fuzz
