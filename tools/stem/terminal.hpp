// What depends on where the output goes: colour, width, and making foreign text safe to show.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace stem::cli {

enum class Tone { kPlain, kBold, kDim, kGood, kWarn, kBad, kHeading };

// Paints for one stream, or leaves text alone: colour only on a terminal that knows it, and never
// when NO_COLOR is set.
class Style {
 public:
  Style() = default;
  static Style of_stdout();
  static Style of_stderr();

  [[nodiscard]] bool colour() const { return colour_; }
  [[nodiscard]] std::string paint(Tone tone, std::string_view text) const;

 private:
  explicit Style(int descriptor);
  bool colour_ = false;
};

bool stdout_is_terminal();

// Columns of the terminal behind stdout; 0 when it is none.
std::size_t terminal_width();

// Columns that UTF-8 text takes on a screen; a broken byte counts one.
std::size_t display_width(std::string_view text);

// Text of unknown origin (a task's name, its error) with control characters and broken UTF-8 spelled
// out as \n, \x1b, ...: it stays on its line and no terminal obeys it.
std::string printable(std::string_view text);

// At most `width` columns, the cut marked by "…".
std::string shortened(std::string_view text, std::size_t width);

// Broken into lines of at most `width` columns at spaces; every line after the first is indented.
std::string wrapped(std::string_view text, std::size_t width, std::size_t indent);

// "stem: message" on stderr, and a line below it with what to do next, if there is something.
void print_error(std::string_view message, std::string_view hint = {});
void print_warning(std::string_view message);

}  // namespace stem::cli
