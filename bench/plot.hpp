// A small picture of a result as SVG: horizontal bars or lines, drawn here, with no outside program.
#pragma once

#include <string>
#include <vector>

#include "bench/measure.hpp"

namespace stem::bench {

enum class Unit;  // report.hpp

struct PlotBar {
  std::string label;
  Spread value;         // whiskers from min to max when they differ from the median
  bool strong = false;  // drawn in the main colour: the subject among its peers
};

struct PlotPoint {
  double x = 0;
  double y = 0;
};

struct PlotLine {
  std::string label;
  std::vector<PlotPoint> points;
};

// Either bars or lines.
struct Plot {
  std::string title;
  std::string subtitle;  // machine and command, so that the picture can stand alone
  std::string value_label;
  Unit value_unit{};
  bool log_value = false;
  std::vector<PlotBar> bars;

  std::string x_label;
  Unit x_unit{};
  bool log_x = false;
  std::vector<PlotLine> lines;
};

std::string draw_svg(const Plot& plot);

// Round numbers from at most `low` to at least `high`; powers of ten (and 2, 5 times them where few) on a
// logarithmic axis. `low` must be above zero there.
std::vector<double> axis_ticks(double low, double high, bool logarithmic);

}  // namespace stem::bench
