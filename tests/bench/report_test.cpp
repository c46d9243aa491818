#include "bench/report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace stem::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(FormatValue, HasThreeDigitsAndTheRightUnit) {
  EXPECT_EQ(format_value(65.13, Unit::kNanoseconds), "65.1 ns");
  EXPECT_EQ(format_value(1384, Unit::kNanoseconds), "1.38 µs");
  EXPECT_EQ(format_value(24.0e6, Unit::kNanoseconds), "24.0 ms");
  EXPECT_EQ(format_value(0.28, Unit::kNanoseconds), "0.280 ns");
  EXPECT_EQ(format_value(0, Unit::kNanoseconds), "0 ns");
  EXPECT_EQ(format_value(124.4e6, Unit::kPerSecond), "124 M/s");
  EXPECT_EQ(format_value(259e3, Unit::kPerSecond), "259 k/s");
  EXPECT_EQ(format_value(512 * 1024.0, Unit::kBytes), "512 KiB");
  EXPECT_EQ(format_value(0.2, Unit::kRatio), "0.200 ×");
  EXPECT_EQ(format_value(999, Unit::kCount), "999");
  EXPECT_EQ(format_value(4e6, Unit::kCount), "4,000,000");
}

TEST(FormatValue, NeverShowsAThousandOfTheSmallerUnit) {
  EXPECT_EQ(format_value(999.7, Unit::kNanoseconds), "1.00 µs");
  EXPECT_EQ(format_value(999.4, Unit::kNanoseconds), "999 ns");
}

Report sample_report() {
  Report report;
  report.command = "sample";
  report.command_line = "stem-bench sample --runs 2";
  report.machine = {{"cpu", "CPU", "Some CPU"}};
  report.settings = {{"runs", "2"}};
  Table table{"wake", "Waking", spread_columns("cost_ns", "cost", Unit::kNanoseconds), {}};
  table.rows.push_back({"short", "20 µs idle", spread_cells({24000, 21000, 25000, 2})});
  table.rows.push_back({"none", "not measured", {Cell(), Cell(), Cell()}});
  report.tables.push_back(table);
  report.notes.push_back("One note.");
  return report;
}

TEST(Report, PrintsTheCommandLineFirstSoThatFiguresCanBeQuoted) {
  EXPECT_EQ(header_text(sample_report()).find("$ stem-bench sample --runs 2\n"), 0u);
  EXPECT_THAT(header_text(sample_report()), HasSubstr("CPU Some CPU"));
}

TEST(Report, AlignsColumnsByCharactersNotBytes) {
  std::istringstream lines(tables_text(sample_report()));
  std::vector<std::string> all;
  for (std::string line; std::getline(lines, line);) all.push_back(line);
  EXPECT_THAT(all, ElementsAre("", "Waking", "                   cost    least     most",
                               "  20 µs idle    24.0 µs  21.0 µs  25.0 µs", "  not measured        –        –        –",
                               "", "One note."));
}

TEST(Report, JsonHasStableKeysAndBaseUnits) {
  const nlohmann::ordered_json json = to_json(sample_report());
  EXPECT_EQ(json.at("tool"), "stem-bench");
  EXPECT_EQ(json.at("command"), "sample");
  EXPECT_EQ(json.at("machine").at("cpu"), "Some CPU");
  EXPECT_EQ(json.at("settings").at("runs"), "2");
  const auto& rows = json.at("tables").at("wake").at("rows");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].at("name"), "short");
  EXPECT_EQ(rows[0].at("cost_ns"), 24000);
  EXPECT_EQ(rows[0].at("cost_ns_min"), 21000);
  EXPECT_EQ(rows[0].at("cost_ns_max"), 25000);
  EXPECT_TRUE(rows[1].at("cost_ns").is_null());
}

TEST(RatioTable, HasARowForAllAndOneForEachPlacementSeen) {
  RatioSeries series;
  const auto value = [](double v, double handoff_ns) {
    return Measured{.value = v, .handoff_before_ns = handoff_ns, .handoff_after_ns = handoff_ns};
  };
  series.add(value(100, 60), value(30, 60));
  series.add(value(30, 240), value(15, 240));
  series.add(value(30, 240), value(12, 240));
  const Table table = ratio_table("throughput", "Throughput", series, Unit::kPerSecond);
  std::vector<std::string> names;
  for (const Row& row : table.rows) {
    names.push_back(row.key);
    EXPECT_EQ(row.cells.size(), table.columns.size());
  }
  EXPECT_THAT(names, ElementsAre("all", "l3", "far"));
  EXPECT_DOUBLE_EQ(std::get<double>(table.rows[0].cells[0]), 0.4);
  EXPECT_DOUBLE_EQ(std::get<double>(table.rows[2].cells[0]), 0.45);
}

TEST(MachineFacts, NameTheMachineAndTheBuild) {
  std::vector<std::string> keys;
  for (const MachineFact& fact : machine_facts()) {
    keys.push_back(fact.key);
    EXPECT_FALSE(fact.value.empty()) << fact.key;
  }
  EXPECT_THAT(keys, ElementsAre("cpu", "cores", "caches", "hypervisor", "kernel", "clocksource", "governor",
                                "thp_shmem", "build", "version"));
}

}  // namespace
}  // namespace stem::bench
