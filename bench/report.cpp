#include "bench/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

namespace stem::bench {

namespace {

constexpr const char* kNothing = "–";

struct Scale {
  double factor;
  const char* suffix;
};

// Three significant digits, never in exponent form.
std::string three_digits(double value) {
  const double size = std::fabs(value);
  if (size >= 99.95 || value == 0) return fmt::format("{:.0f}", value);
  if (size >= 9.995) return fmt::format("{:.1f}", value);
  if (size >= 0.9995) return fmt::format("{:.2f}", value);
  return fmt::format("{:.3f}", value);
}

template <std::size_t kCount>
std::string scaled(double value, const std::array<Scale, kCount>& scales) {
  for (const Scale& scale : scales) {
    // Just below the border the three digits would round up to 1000 of the smaller unit.
    if (std::fabs(value) >= scale.factor * 0.9995) return three_digits(value / scale.factor) + scale.suffix;
  }
  return three_digits(value / scales.back().factor) + scales.back().suffix;
}

// "4,000,000".
std::string grouped(double value) {
  std::string digits = fmt::format("{:.0f}", value);
  const std::size_t first = digits[0] == '-' ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string cell_text(const Cell& cell, Unit unit) {
  if (const auto* number = std::get_if<double>(&cell)) return format_value(*number, unit);
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  return kNothing;
}

nlohmann::ordered_json cell_json(const Cell& cell) {
  if (const auto* number = std::get_if<double>(&cell)) return *number;
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  return nullptr;
}

// Characters on the screen; fmt pads by the same measure.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string table_text(const Table& table) {
  std::vector<std::vector<std::string>> lines{{""}};
  for (const Column& column : table.columns) lines[0].push_back(column.heading);
  for (const Row& row : table.rows) {
    std::vector<std::string> line{row.label};
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      line.push_back(cell_text(row.cells[i], table.columns[i].unit));
    }
    lines.push_back(std::move(line));
  }
  std::vector<std::size_t> widths(table.columns.size() + 1);
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], width_of(line[i]));
  }
  std::string text = table.title + "\n";
  for (const auto& line : lines) {
    std::string row = fmt::format("  {:<{}}", line[0], widths[0]);
    for (std::size_t i = 1; i < line.size(); ++i) {
      const bool left = table.columns[i - 1].unit == Unit::kText;
      row += left ? fmt::format("  {:<{}}", line[i], widths[i]) : fmt::format("  {:>{}}", line[i], widths[i]);
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + "\n";
  }
  return text;
}

}  // namespace

std::string format_value(double value, Unit unit) {
  static constexpr std::array<Scale, 4> kTime{{{1e9, " s"}, {1e6, " ms"}, {1e3, " µs"}, {1, " ns"}}};
  static constexpr std::array<Scale, 4> kRate{{{1e9, " G/s"}, {1e6, " M/s"}, {1e3, " k/s"}, {1, " /s"}}};
  static constexpr std::array<Scale, 4> kSize{{{1 << 30, " GiB"}, {1 << 20, " MiB"}, {1 << 10, " KiB"}, {1, " B"}}};
  switch (unit) {
    case Unit::kNanoseconds: return scaled(value, kTime);
    case Unit::kPerSecond: return scaled(value, kRate);
    case Unit::kBytes: return scaled(value, kSize);
    case Unit::kCount: return grouped(value);
    case Unit::kRatio: return three_digits(value) + " ×";
    case Unit::kPercent: return three_digits(value) + " %";
    case Unit::kText: break;
  }
  return fmt::format("{}", value);
}

std::vector<Column> percentile_columns() {
  return {{"p50_ns", "p50", Unit::kNanoseconds},         {"p90_ns", "p90", Unit::kNanoseconds},
          {"p99_ns", "p99", Unit::kNanoseconds},         {"p999_ns", "p99.9", Unit::kNanoseconds},
          {"max_ns", "max", Unit::kNanoseconds},         {"p50_min_ns", "p50 least", Unit::kNanoseconds},
          {"p50_max_ns", "p50 most", Unit::kNanoseconds}};
}

std::vector<Cell> percentile_cells(const PercentileSpread& spread) {
  return {spread.p50.median, spread.p90.median, spread.p99.median, spread.p999.median,
          spread.max.max,    spread.p50.min,    spread.p50.max};
}

std::vector<Column> spread_columns(const std::string& key, const std::string& heading, Unit unit) {
  return {{key, heading, unit}, {key + "_min", "least", unit}, {key + "_max", "most", unit}};
}

std::vector<Cell> spread_cells(const Spread& spread) { return {spread.median, spread.min, spread.max}; }

std::string placement_summary(const std::vector<Placement>& placements) {
  std::string text;
  for (const Placement placement : {Placement::kSmt, Placement::kL3, Placement::kFar, Placement::kMoved}) {
    const auto count = std::count(placements.begin(), placements.end(), placement);
    if (count == 0) continue;
    if (!text.empty()) text += ", ";
    text += fmt::format("{} {}", to_string(placement), count);
  }
  return text;
}

Table ratio_table(const std::string& key, const std::string& title, const RatioSeries& series, Unit floor_unit) {
  Table table{key, title, spread_columns("ratio", "ratio", Unit::kRatio), {}};
  table.columns.push_back({"ratio_steady", "steady", Unit::kRatio});
  table.columns.push_back({"pairs", "pairs", Unit::kCount});
  table.columns.push_back({"floor", "floor", floor_unit});
  table.columns.push_back({"subject", "subject", floor_unit});
  table.columns.push_back({"disturbed", "disturbed", Unit::kCount});
  const auto add = [&](const std::string& name, const std::string& label, const RatioSeries& part) {
    if (part.samples().empty()) return;
    const Spread steady = part.steady_ratio();
    std::vector<Cell> cells = spread_cells(part.ratio());
    cells.push_back(steady.count > 0 ? Cell(steady.median) : Cell());
    cells.insert(cells.end(), {static_cast<double>(part.samples().size()), part.floor().median, part.subject().median,
                               static_cast<double>(part.disturbed_count())});
    table.rows.push_back({name, label, std::move(cells)});
  };
  add("all", "all pairs", series);
  for (const Placement placement : {Placement::kSmt, Placement::kL3, Placement::kFar, Placement::kMoved}) {
    const std::string name(to_string(placement));
    add(name, "hand-off: " + name, series.only(placement));
  }
  return table;
}

std::string header_text(const Report& report) {
  std::string text = "$ " + report.command_line + "\n";
  std::string machine;
  for (const MachineFact& fact : report.machine) {
    machine += fmt::format("{}{} {}", machine.empty() ? "" : " · ", fact.label, fact.value);
  }
  std::string settings;
  for (const auto& [name, value] : report.settings) {
    settings += fmt::format("{}{} {}", settings.empty() ? "" : " · ", name, value);
  }
  return text + machine + "\n" + settings + "\n";
}

std::string tables_text(const Report& report) {
  std::string text;
  for (const Table& table : report.tables) text += "\n" + table_text(table);
  if (!report.notes.empty()) text += "\n";
  for (const std::string& note : report.notes) text += note + "\n";
  return text;
}

nlohmann::ordered_json to_json(const Report& report) {
  nlohmann::ordered_json json;
  json["tool"] = "stem-bench";
  json["command"] = report.command;
  json["command_line"] = report.command_line;
  json["machine"] = nlohmann::ordered_json::object();
  for (const MachineFact& fact : report.machine) json["machine"][fact.key] = fact.value;
  json["settings"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : report.settings) json["settings"][name] = value;
  json["tables"] = nlohmann::ordered_json::object();
  for (const Table& table : report.tables) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const Row& row : table.rows) {
      nlohmann::ordered_json object{{"name", row.key}, {"label", row.label}};
      for (std::size_t i = 0; i < row.cells.size(); ++i) object[table.columns[i].key] = cell_json(row.cells[i]);
      rows.push_back(std::move(object));
    }
    json["tables"][table.key] = {{"title", table.title}, {"rows", std::move(rows)}};
  }
  json["notes"] = report.notes;
  return json;
}

}  // namespace stem::bench
