// What must not compile, does not, and the compiler says why. The same text with the misuse taken out
// compiles, so that a refusal is for the reason given.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace stem::api_tests {
namespace {

struct Compilation {
  bool accepted = false;
  std::string output;
};

Compilation compile(const std::string& body) {
  char directory[] = "/tmp/stem-misuse-XXXXXX";
  if (::mkdtemp(directory) == nullptr) return {false, "no directory"};
  const std::string file = std::string(directory) + "/misuse.cpp";
  std::ofstream(file) << "#include \"stem/stem.hpp\"\n"
                         "struct Point { int x, y; };\n"
                         "struct Text { std::string s; };\n"
                         "constexpr stem::Task<int(Point)> task{\"task\"};\n"
                         "void use(stem::Client& client, stem::Worker& worker) {\n"
                         "(void)client; (void)worker;\n"
                      << body << "\n}\n";
  const std::string root = STEM_SOURCE_DIR;
  const std::string command =
      "c++ -std=c++20 -fsyntax-only -I " + root + "/include -I " + root + "/src -I " + root + " " + file + " 2>&1";
  Compilation result;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  char line[4096];
  while (pipe != nullptr && std::fgets(line, sizeof line, pipe) != nullptr) result.output += line;
  const int status = pipe == nullptr ? -1 : ::pclose(pipe);
  result.accepted = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  std::filesystem::remove_all(directory);
  return result;
}

struct Case {
  const char* name;
  const char* right;
  const char* wrong;
  const char* said;  // part of the compiler's words; empty = whatever they are
};

class Misuse : public ::testing::TestWithParam<Case> {};

TEST_P(Misuse, IsRefused) {
  const Compilation right = compile(GetParam().right);
  EXPECT_TRUE(right.accepted) << right.output;
  const Compilation wrong = compile(GetParam().wrong);
  EXPECT_FALSE(wrong.accepted) << GetParam().wrong;
  EXPECT_NE(wrong.output.find(GetParam().said), std::string::npos) << wrong.output;
}

INSTANTIATE_TEST_SUITE_P(
    Api, Misuse,
    ::testing::Values(
        Case{"WrongArgumentType", "auto h = client.enqueue(task, {1, 2});", "auto h = client.enqueue(task, \"text\");",
             ""},
        Case{"WrongArgumentCount", "auto h = client.enqueue(task, {1, 2});",
             "auto h = client.enqueue(task, {1, 2, 3});", ""},
        Case{"HandlerWithTheWrongResult", "worker.on(task, [](stem::Context&, const Point& p) { return p.x; });",
             "worker.on(task, [](stem::Context&, const Point&) { return std::string(); });",
             "a handler returns its task's result type"},
        Case{"HandlerWithoutAResult", "worker.on(task, [](const Point& p) -> stem::Outcome<int> { return p.x; });",
             "worker.on(task, [](const Point&) {});", "a handler returns its task's result type"},
        Case{"HandlerWithTheWrongArguments", "worker.on(task, [](stem::Context&, const Point&) { return 1; });",
             "worker.on(task, [](stem::Context&, const std::string&) { return 1; });",
             "a handler takes (stem::Context&"},
        Case{"ArgumentsWithoutACodec",
             "constexpr stem::Task<int(Point)> t{\"t\"}; (void)client.enqueue(t, {1, 2}).ok();",
             "constexpr stem::Task<int(Text)> t{\"t\"}; (void)client.enqueue(t, {\"x\"}).ok();", "stem/json.hpp"},
        Case{"ReferenceArguments", "constexpr stem::Task<int(Point)> t{\"t\"}; (void)t;",
             "constexpr stem::Task<int(const Point&)> t{\"t\"}; (void)t;", "arguments are stored"}),
    [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace stem::api_tests
