// The `stem` program: hands its words to the command table.
#include <fmt/format.h>

#include <clocale>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "tools/stem/dispatch.hpp"
#include "tools/stem/exit_code.hpp"
#include "tools/stem/terminal.hpp"

int main(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "C.UTF-8");  // how wide a character is; nothing else is localised
  int code = stem::cli::kExitFailed;
  try {
    code = stem::cli::run_command_line(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    stem::cli::print_error(fmt::format("unexpected error: {}", error.what()));
  }
  // Output that did not arrive (a full disk) is not success.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    stem::cli::print_error("cannot write the output");
    return stem::cli::kExitFailed;
  }
  return code;
}
