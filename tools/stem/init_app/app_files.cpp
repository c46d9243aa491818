#include "tools/stem/init_app/app_files.hpp"

namespace stem::cli {
namespace {

constexpr std::string_view kBuildFile = R"(cmake_minimum_required(VERSION 3.25)
project(@NAME@ LANGUAGES CXX)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_package(stem REQUIRED)

add_executable(@NAME@-worker main.cpp)
target_link_libraries(@NAME@-worker PRIVATE stem::stem)
)";

constexpr std::string_view kMain =
    R"app(// The worker of @NAME@: what it can do, one handler for each task. Flags: ./@NAME@-worker --help
#include <stem/stem.hpp>
#include <string>

inline constexpr stem::Task<std::string(std::string)> greet{"@NAME@.greet", {.queue = "@NAME@", .max_retries = 5}};

int main(int argc, char** argv) {
  return stem::worker_main(argc, argv, [](stem::Worker& worker) {
    worker.on(greet, [](stem::Context& task, const std::string& whom) {
      // To throw is a failed attempt, which is retried; so is a crash. task.attempt() counts from 0.
      return "Hello, " + whom + "! (attempt " + std::to_string(task.attempt()) + ")";
    });
  });
}
)app";

constexpr std::string_view kReadme = R"(# @NAME@

Build it, start its worker, and give it a task from another terminal:

    cmake -B build && cmake --build build
    ./build/@NAME@-worker --queue @NAME@
    stem enqueue @NAME@.greet --queue @NAME@ --args '"world"' --wait

Handlers are in `main.cpp`. Ctrl-C stops the worker; `stem top` shows what it does. C++ programs enqueue with
`stem::Client` (`<stem/client.hpp>`); `man stem` has the rest.
)";

std::string filled_in(std::string_view text, std::string_view name) {
  constexpr std::string_view kMark = "@NAME@";
  std::string out;
  for (;;) {
    const std::size_t at = text.find(kMark);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += name;
    text.remove_prefix(at + kMark.size());
  }
}

}  // namespace

std::vector<AppFile> app_files(std::string_view name) {
  return {{"CMakeLists.txt", filled_in(kBuildFile, name)},
          {"main.cpp", filled_in(kMain, name)},
          {"README.md", filled_in(kReadme, name)}};
}

}  // namespace stem::cli
