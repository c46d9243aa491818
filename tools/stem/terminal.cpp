#include "tools/stem/terminal.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cwchar>

namespace stem::cli {
namespace {

std::string_view escape_of(Tone tone) {
  switch (tone) {
    case Tone::kPlain: return "";
    case Tone::kBold: return "\x1b[1m";
    case Tone::kDim: return "\x1b[2m";
    case Tone::kGood: return "\x1b[32m";
    case Tone::kWarn: return "\x1b[33m";
    case Tone::kBad: return "\x1b[31m";
    case Tone::kHeading: return "\x1b[1m";
  }
  return "";
}

// One character of UTF-8 text; `valid` is false for a byte that belongs to none.
struct Glyph {
  std::size_t bytes = 1;
  wchar_t code = 0;
  bool valid = false;
};

Glyph next_glyph(std::string_view text) {
  std::mbstate_t state{};
  Glyph glyph;
  const std::size_t length = std::mbrtowc(&glyph.code, text.data(), text.size(), &state);
  if (length == 0) {
    glyph.valid = true;  // NUL
  } else if (length <= text.size()) {
    glyph.bytes = length;
    glyph.valid = true;
  }
  return glyph;
}

bool is_control(wchar_t code) { return code < 0x20 || (code >= 0x7f && code < 0xa0); }

// Characters that reorder or hide the text around them (bidirectional marks, zero width).
bool is_deceptive(wchar_t code) {
  return (code >= 0x200b && code <= 0x200f) || (code >= 0x202a && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x2069) || code == 0xfeff;
}

std::string escaped(const Glyph& glyph, std::string_view bytes) {
  switch (glyph.valid ? glyph.code : L'\x1') {
    case L'\n': return "\\n";
    case L'\t': return "\\t";
    case L'\r': return "\\r";
    default: break;
  }
  if (glyph.valid && glyph.code > 0xff) {
    return fmt::format("\\u{:04x}", static_cast<unsigned>(glyph.code));
  }
  std::string out;
  for (const char c : bytes) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return out;
}

}  // namespace

Style::Style(int descriptor) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  colour_ = isatty(descriptor) != 0 && (no_color == nullptr || *no_color == '\0') && term != nullptr && *term != '\0' &&
            std::string_view(term) != "dumb";
}

Style Style::of_stdout() { return Style(STDOUT_FILENO); }
Style Style::of_stderr() { return Style(STDERR_FILENO); }

std::string Style::paint(Tone tone, std::string_view text) const {
  if (!colour_ || tone == Tone::kPlain || text.empty()) return std::string(text);
  return fmt::format("{}{}\x1b[0m", escape_of(tone), text);
}

bool stdout_is_terminal() { return isatty(STDOUT_FILENO) != 0; }

std::size_t terminal_width() {
  winsize size{};
  if (!stdout_is_terminal() || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const Glyph glyph = next_glyph(text);
    const int columns = glyph.valid ? ::wcwidth(glyph.code) : 1;
    width += columns > 0 ? static_cast<std::size_t>(columns) : 0;
    text.remove_prefix(glyph.bytes);
  }
  return width;
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Glyph glyph = next_glyph(text);
    const std::string_view bytes = text.substr(0, glyph.bytes);
    if (!glyph.valid || is_control(glyph.code) || is_deceptive(glyph.code)) {
      out += escaped(glyph, bytes);
    } else {
      out += bytes;
    }
    text.remove_prefix(glyph.bytes);
  }
  return out;
}

std::string shortened(std::string_view text, std::size_t width) {
  if (display_width(text) <= width) return std::string(text);
  if (width == 0) return "";
  std::string out;
  std::size_t used = 0;
  while (!text.empty()) {
    const Glyph glyph = next_glyph(text);
    const std::string_view bytes = text.substr(0, glyph.bytes);
    const std::size_t columns = display_width(bytes);
    if (used + columns + 1 > width) break;
    out += bytes;
    used += columns;
    text.remove_prefix(glyph.bytes);
  }
  return out + "…";
}

std::string wrapped(std::string_view text, std::size_t width, std::size_t indent) {
  std::string out;
  std::size_t used = 0;
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    const std::size_t columns = display_width(word);
    if (used > 0 && used + 1 + columns > width) {
      out += '\n' + std::string(indent, ' ');
      used = 0;
    } else if (used > 0) {
      out += ' ';
      ++used;
    }
    out += word;
    used += columns;
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
  }
  return out;
}

void print_error(std::string_view message, std::string_view hint) {
  const Style style = Style::of_stderr();
  std::fflush(stdout);
  fmt::print(stderr, "{} {}\n", style.paint(Tone::kBad, "stem:"), printable(message));
  if (!hint.empty()) fmt::print(stderr, "      {}\n", printable(hint));
}

void print_warning(std::string_view message) {
  const Style style = Style::of_stderr();
  std::fflush(stdout);
  fmt::print(stderr, "{} {}\n", style.paint(Tone::kWarn, "stem: warning:"), printable(message));
}

}  // namespace stem::cli
