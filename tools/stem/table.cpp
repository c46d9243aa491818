#include "tools/stem/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/check.hpp"

namespace stem::cli {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kNarrowGap = 1;  // where the wide one does not fit
constexpr std::size_t kNarrowest = 8;  // a column is not cut below this

std::string aligned(std::string_view text, std::size_t width, Align align, bool last, const Style& style, Tone tone) {
  const std::string shown = shortened(text, width);
  const std::string padding(width - std::min(width, display_width(shown)), ' ');
  const std::string painted = style.paint(tone, shown);
  if (align == Align::kRight) return padding + painted;
  return last ? painted : painted + padding;
}

std::size_t total(const std::vector<std::size_t>& widths, std::size_t gap) {
  return std::accumulate(widths.begin(), widths.end(), std::size_t{0}) + gap * (widths.size() - 1);
}

}  // namespace

void Table::add_row(std::vector<Cell> cells) {
  STEM_CHECK(cells.size() == columns_.size());
  for (Cell& cell : cells) {
    cell.text = cell.text.empty() ? "-" : printable(cell.text);
  }
  rows_.push_back(std::move(cells));
}

std::vector<std::size_t> Table::widths(std::size_t room, std::size_t gap) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = display_width(columns_[i].name);
    for (const auto& row : rows_) width = std::max(width, display_width(row[i].text));
    widths.push_back(width);
  }
  if (room == 0) return widths;
  std::size_t used = total(widths, gap);
  for (std::size_t i = 0; i < columns_.size() && used > room; ++i) {
    if (!columns_[i].may_shrink || widths[i] <= kNarrowest) continue;
    const std::size_t cut = std::min(widths[i] - kNarrowest, used - room);
    widths[i] -= cut;
    used -= cut;
  }
  return widths;
}

std::string Table::render(const Style& style, std::size_t width) const {
  std::size_t gap = kGap;
  std::vector<std::size_t> columns = widths(width, gap);
  if (width != 0 && total(columns, gap) > width) {
    std::vector<std::size_t> narrow = widths(width, kNarrowGap);
    if (total(narrow, kNarrowGap) <= width) {
      gap = kNarrowGap;
      columns = std::move(narrow);
    }
  }
  std::string out;
  const auto line = [&](auto&& text_of, auto&& tone_of) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const bool last = i + 1 == columns.size();
      out += aligned(text_of(i), columns[i], columns_[i].align, last, style, tone_of(i));
      out += last ? "\n" : std::string(gap, ' ');
    }
  };
  line([&](std::size_t i) { return columns_[i].name; }, [](std::size_t) { return Tone::kHeading; });
  for (const auto& row : rows_) {
    line([&](std::size_t i) { return row[i].text; }, [&](std::size_t i) { return row[i].tone; });
  }
  return out;
}

void Table::print(const Style& style) const { fmt::print("{}", render(style, terminal_width())); }

}  // namespace stem::cli
