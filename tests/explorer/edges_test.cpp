// Each named order is taken away, and its scene must fail. The table in docs/memory-ordering.md says what is run here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>

#include "edges.hpp"
#include "scene.hpp"

namespace explorer {
namespace {

const Scene& scene_named(std::string_view name) {
  const auto& all = scenes();
  const auto found = std::find_if(all.begin(), all.end(), [name](const Scene& s) { return s.name == name; });
  if (found == all.end()) throw std::runtime_error("no scene named " + std::string(name));
  return *found;
}

class EdgeTest : public testing::TestWithParam<Edge> {};

TEST_P(EdgeTest, IsMissed) {
  const Edge& edge = GetParam();
  const auto play = scene_named(edge.scene).make();
  const auto weak = lines_of(edge.places);
  Outcome o = run_random(*play, 1, 5000, weak);
  for (const Bounds& bounds : {Bounds{1, 1, 50'000}, Bounds{2, 1, 50'000}, Bounds{2, 2, 50'000}})
    if (!o.failed) o = run_bounded(*play, bounds, weak);
  EXPECT_TRUE(o.failed) << edge.name << " is weakened, and " << edge.scene << " holds after " << o.executions;
  std::printf("%s: %s\n", std::string(edge.name).c_str(), o.text.c_str());
}

std::vector<Edge> shown() {
  std::vector<Edge> all = edges();
  std::erase_if(all, [](const Edge& e) { return e.scene.empty(); });
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, EdgeTest, testing::ValuesIn(shown()), [](const auto& it) {
  std::string name(it.param.name);
  std::replace(name.begin(), name.end(), '.', '_');
  return name + "_" + std::string(it.param.scene) + "_" + std::to_string(it.index);
});

// The last column of each row that names an order.
std::map<std::string, std::string> table() {
  std::map<std::string, std::string> rows;
  std::ifstream file(std::string(STEM_SOURCE_DIR) + "/docs/memory-ordering.md");
  static const std::regex row(R"(^\| `([a-z.]+)` \|.*\| ([^|]+) \|$)");
  std::smatch match;
  for (std::string line; std::getline(file, line);)
    if (std::regex_match(line, match, row)) rows[match[1]] = match[2];
  return rows;
}

TEST(Edges, TheTableNamesTheSceneOfEach) {
  std::map<std::string, std::vector<std::string>> tried;
  for (const Edge& edge : edges()) {
    auto& names = tried[std::string(edge.name)];
    const std::string name = "`" + std::string(edge.scene) + "`";
    if (!edge.scene.empty() && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  const auto rows = table();
  EXPECT_EQ(rows.size(), tried.size());
  for (const auto& [edge, names] : tried) {
    const auto row = rows.find(edge);
    ASSERT_NE(row, rows.end()) << edge;
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    if (names.empty()) {
      EXPECT_THAT(row->second, testing::StartsWith("none: ")) << edge;
    } else {
      EXPECT_EQ(row->second, all) << edge;
    }
  }
}

// Every mark in shm/ and src/engine is near a place that is weakened, or says that no scene can show it.
TEST(Edges, EveryMarkIsAPlaceThatIsTried) {
  namespace fs = std::filesystem;
  std::map<std::string, std::vector<Weakened>> places;
  std::set<std::string> not_shown;
  for (const Edge& edge : edges()) {
    if (edge.scene.empty()) not_shown.insert(std::string(edge.name));
    for (const Weakened& w : lines_of(edge.places)) places[std::string(edge.name)].push_back(w);
  }
  for (const char* room : {"shm", "src/engine"}) {
    for (const auto& entry : fs::directory_iterator(std::string(STEM_SOURCE_DIR) + "/" + room)) {
      if (!entry.is_regular_file()) continue;
      const std::string path = std::string(room) + "/" + entry.path().filename().string();
      std::ifstream file(entry.path());
      static const std::regex mark(R"(order\(([a-z.]+)\))");
      std::smatch match;
      std::string line;
      for (std::uint32_t number = 1; std::getline(file, line); ++number) {
        if (!std::regex_search(line, match, mark)) continue;
        if (not_shown.count(match[1]) != 0) continue;
        bool near = false;
        for (const Weakened& w : places[match[1]])
          near = near || (w.file == path && w.last + 6 >= number && w.first <= number + 16);
        EXPECT_TRUE(near) << path << ":" << number << ": no place of " << match[1] << " is near";
      }
    }
  }
}

}  // namespace
}  // namespace explorer
