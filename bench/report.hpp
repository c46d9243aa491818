// What a subcommand fills in: tables, remarks, a picture. The frame prints it, and writes the JSON and the
// SVG that were asked for. JSON values are in base units (ns, bytes, per second) under stable keys.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "bench/machine.hpp"
#include "bench/measure.hpp"
#include "bench/plot.hpp"

namespace stem::bench {

enum class Unit { kText, kNanoseconds, kBytes, kCount, kPerSecond, kRatio, kPercent };

// "65.1 ns", "1.38 µs", "120 M/s", "2.5 ×".
std::string format_value(double value, Unit unit);

struct Column {
  std::string key;      // JSON; ends in the unit where there is one: "p50_ns"
  std::string heading;  // terminal
  Unit unit = Unit::kText;
};

// Nothing (printed as "–", null in JSON), a number in the column's base unit, or text.
using Cell = std::variant<std::monostate, double, std::string>;

struct Row {
  std::string key;    // JSON "name"; stable
  std::string label;  // terminal
  std::vector<Cell> cells;
};

struct Table {
  std::string key;
  std::string title;
  std::vector<Column> columns;  // after the label
  std::vector<Row> rows;
};

// Columns and cells of a row of percentiles: p50, p90, p99, p99.9, max, and the range of p50.
std::vector<Column> percentile_columns();
std::vector<Cell> percentile_cells(const PercentileSpread& spread);

// Columns and cells of one value over repetitions: median, min, max. `key` without unit suffix.
std::vector<Column> spread_columns(const std::string& key, const std::string& heading, Unit unit);
std::vector<Cell> spread_cells(const Spread& spread);

// The table of ratios of a RatioSeries: one row for all pairs, one per placement seen, and how many pairs
// were disturbed. `floor_unit` formats floor and subject.
Table ratio_table(const std::string& key, const std::string& title, const RatioSeries& series, Unit floor_unit);

// "l3 4, far 1" of the placements seen.
std::string placement_summary(const std::vector<Placement>& placements);

struct Report {
  std::string command;       // "floor"
  std::string command_line;  // as typed
  std::vector<MachineFact> machine;
  std::vector<std::pair<std::string, std::string>> settings;  // "runs" -> "5"
  std::vector<Table> tables;
  std::vector<std::string> notes;
  std::optional<Plot> plot;
};

std::string header_text(const Report& report);  // command line, machine, settings
std::string tables_text(const Report& report);  // tables and notes
nlohmann::ordered_json to_json(const Report& report);

}  // namespace stem::bench
