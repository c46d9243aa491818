// Aligned columns for people: upper-case header, two spaces between columns, none at line ends.
#pragma once

#include <string>
#include <vector>

#include "tools/stem/terminal.hpp"

namespace stem::cli {

enum class Align { kLeft, kRight };

struct Column {
  std::string name;  // "LAG-P50"
  Align align = Align::kLeft;
  bool may_shrink = false;  // cut first when the terminal is too narrow
};

// Text of any origin: control characters are shown, not obeyed. Empty text shows as "-".
struct Cell {
  Cell(std::string content, Tone look = Tone::kPlain)  // NOLINT: meant to convert
      : text(std::move(content)), tone(look) {}
  Cell(const char* content) : text(content) {}  // NOLINT
  std::string text;
  Tone tone = Tone::kPlain;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // As many cells as columns.
  void add_row(std::vector<Cell> cells);

  [[nodiscard]] bool empty() const { return rows_.empty(); }

  // `width` is the room in columns; 0 is endless.
  [[nodiscard]] std::string render(const Style& style, std::size_t width) const;

  // To stdout; cut to the terminal's width if stdout is one.
  void print(const Style& style) const;

 private:
  [[nodiscard]] std::vector<std::size_t> widths(std::size_t room, std::size_t gap) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace stem::cli
