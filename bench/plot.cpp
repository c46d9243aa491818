#include "bench/plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "bench/report.hpp"

namespace stem::bench {

namespace {

constexpr double kWidth = 860;
constexpr double kMargin = 24;
constexpr double kTop = 74;  // below title and subtitle
constexpr const char* kInk = "#1f2933";
constexpr const char* kFaint = "#7b8794";
constexpr const char* kGrid = "#e4e7eb";
constexpr const char* kStrong = "#c2410c";
constexpr const char* kBar = "#5b7c99";
constexpr const char* kPalette[] = {"#c2410c", "#2563a8", "#2f855a", "#7c3aed", "#b7791f", "#4a5568"};

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

enum class Anchor { kStart, kMiddle, kEnd };

std::string text_at(double x, double y, const std::string& text, Anchor anchor, double size = 13,
                    const char* fill = kInk, const char* extra = "") {
  static constexpr const char* kNames[] = {"start", "middle", "end"};
  return fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" font-size=\"{}\" "
      "fill=\"{}\"{}>{}</text>\n",
      x, y, kNames[static_cast<int>(anchor)], size, fill, extra, escape(text));
}

std::string line_at(double x1, double y1, double x2, double y2, const char* stroke, double width = 1) {
  return fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" "
      "stroke-width=\"{}\"/>\n",
      x1, y1, x2, y2, stroke, width);
}

// Ticks are round numbers: "10 ns", not "10.0 ns".
std::string tick_text(double value, Unit unit) {
  std::string text = format_value(value, unit);
  const std::size_t dot = text.find('.');
  const std::size_t end = text.find(' ');
  if (dot == std::string::npos || end == std::string::npos || end < dot) return text;
  std::size_t keep = end;
  while (keep > dot && text[keep - 1] == '0') --keep;
  if (keep == dot + 1) keep = dot;
  return text.erase(keep, end - keep);
}

// Maps a value range onto a length.
struct Axis {
  std::vector<double> ticks;
  bool logarithmic = false;
  double from = 0;
  double to = 1;  // positions of the first and last tick

  double at(double value) const {
    const double low = ticks.front(), high = ticks.back();
    const double part =
        logarithmic ? std::log(std::max(value, low) / low) / std::log(high / low) : (value - low) / (high - low);
    return from + part * (to - from);
  }
};

// Room for the longest label in 13-pixel type.
double label_room(const std::vector<PlotBar>& bars) {
  std::size_t longest = 0;
  for (const PlotBar& bar : bars) longest = std::max(longest, bar.label.size());
  return std::clamp(static_cast<double>(longest) * 7.2, 80.0, 340.0);
}

std::string frame(const Plot& plot, double height, const std::string& body) {
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\" "
      "font-family=\"system-ui, 'DejaVu Sans', Helvetica, Arial, sans-serif\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>\n",
      kWidth, height);
  svg += text_at(kMargin, 32, plot.title, Anchor::kStart, 18, kInk, " font-weight=\"600\"");
  svg += text_at(kMargin, 52, plot.subtitle, Anchor::kStart, 11, kFaint);
  return svg + body + "</svg>\n";
}

std::string value_grid(const Axis& axis, Unit unit, double top, double bottom) {
  std::string svg;
  for (const double tick : axis.ticks) {
    const double x = axis.at(tick);
    svg += line_at(x, top, x, bottom, kGrid);
    svg += text_at(x, bottom + 18, tick_text(tick, unit), Anchor::kMiddle, 11, kFaint);
  }
  return svg;
}

std::string draw_bars(const Plot& plot) {
  constexpr double kRow = 34, kThick = 18;
  double low = std::numeric_limits<double>::max(), high = 0;
  for (const PlotBar& bar : plot.bars) {
    low = std::min(low, std::max(bar.value.min, 1e-9));
    high = std::max(high, bar.value.max);
  }
  Axis axis;
  axis.logarithmic = plot.log_value;
  axis.ticks = axis_ticks(plot.log_value ? low / 2 : 0, high, plot.log_value);
  axis.from = kMargin + label_room(plot.bars) + 12;
  axis.to = kWidth - kMargin - 84;  // the value stands to the right of the longest bar
  const double bottom = kTop + kRow * static_cast<double>(plot.bars.size());
  std::string svg = value_grid(axis, plot.value_unit, kTop, bottom);
  double y = kTop + kRow / 2;
  for (const PlotBar& bar : plot.bars) {
    const double end = axis.at(bar.value.median);
    svg += text_at(axis.from - 12, y + 4.5, bar.label, Anchor::kEnd);
    svg += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\" rx=\"2\" fill=\"{}\"/>\n",
                       axis.from, y - kThick / 2, std::max(1.0, end - axis.from), kThick, bar.strong ? kStrong : kBar);
    double right = end;
    if (bar.value.max > bar.value.min) {
      const double least = axis.at(bar.value.min), most = axis.at(bar.value.max);
      svg += line_at(least, y, most, y, kInk, 1.2);
      svg += line_at(least, y - 4, least, y + 4, kInk, 1.2) + line_at(most, y - 4, most, y + 4, kInk, 1.2);
      right = std::max(right, most);
    }
    svg += text_at(right + 8, y + 4.5, format_value(bar.value.median, plot.value_unit), Anchor::kStart, 12);
    y += kRow;
  }
  svg += line_at(axis.from, kTop, axis.from, bottom, kFaint);
  svg += text_at((axis.from + axis.to) / 2, bottom + 40, plot.value_label, Anchor::kMiddle, 12, kInk);
  return frame(plot, bottom + 60, svg);
}

struct Range {
  double low = std::numeric_limits<double>::max();
  double high = std::numeric_limits<double>::lowest();
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

std::string draw_line(const PlotLine& line, const Axis& x, const Axis& y, const char* colour) {
  std::string points, dots;
  for (const PlotPoint& point : line.points) {
    points += fmt::format("{:.1f},{:.1f} ", x.at(point.x), y.at(point.y));
    dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.2\" fill=\"{}\"/>\n", x.at(point.x), y.at(point.y),
                        colour);
  }
  return fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n", points, colour) +
         dots;
}

std::string draw_lines(const Plot& plot) {
  constexpr double kHeight = 460, kLeft = 92;
  Range xs, ys;
  for (const PlotLine& line : plot.lines) {
    for (const PlotPoint& point : line.points) {
      xs.add(point.x);
      ys.add(point.y);
    }
  }
  const double legend = 20 * static_cast<double>(plot.lines.size() > 1 ? plot.lines.size() : 0);
  const double top = kTop + legend, bottom = top + kHeight - 150;
  const Axis x{axis_ticks(plot.log_x ? xs.low : std::min(0.0, xs.low), xs.high, plot.log_x), plot.log_x, kLeft,
               kWidth - kMargin - 20};
  const Axis y{axis_ticks(plot.log_value ? ys.low : std::min(0.0, ys.low), ys.high, plot.log_value), plot.log_value,
               bottom, top};
  std::string svg = value_grid(x, plot.x_unit, top, bottom);
  for (const double tick : y.ticks) {
    svg += line_at(x.from, y.at(tick), x.to, y.at(tick), kGrid);
    svg += text_at(x.from - 8, y.at(tick) + 4, tick_text(tick, plot.value_unit), Anchor::kEnd, 11, kFaint);
  }
  svg += line_at(x.from, top, x.from, bottom, kFaint) + line_at(x.from, bottom, x.to, bottom, kFaint);
  double legend_y = kTop;
  for (std::size_t i = 0; i < plot.lines.size(); ++i) {
    const char* colour = kPalette[i % std::size(kPalette)];
    svg += draw_line(plot.lines[i], x, y, colour);
    if (plot.lines.size() < 2) continue;
    svg += line_at(x.from, legend_y - 4, x.from + 22, legend_y - 4, colour, 3);
    svg += text_at(x.from + 30, legend_y, plot.lines[i].label, Anchor::kStart, 12);
    legend_y += 20;
  }
  svg += text_at((x.from + x.to) / 2, bottom + 42, plot.x_label, Anchor::kMiddle, 12);
  const double middle = (top + bottom) / 2;
  const std::string turn = fmt::format(" transform=\"rotate(-90 20 {:.1f})\"", middle);
  svg += text_at(20, middle, plot.value_label, Anchor::kMiddle, 12, kInk, turn.c_str());
  return frame(plot, bottom + 62, svg);
}

}  // namespace

std::vector<double> axis_ticks(double low, double high, bool logarithmic) {
  std::vector<double> ticks;
  if (logarithmic) {
    const int first = static_cast<int>(std::floor(std::log10(low)));
    const int last = std::max(first + 1, static_cast<int>(std::ceil(std::log10(high))));
    for (int power = first; power <= last; ++power) {
      ticks.push_back(std::pow(10.0, power));
      if (last - first > 2 || power == last) continue;
      ticks.push_back(2 * std::pow(10.0, power));
      ticks.push_back(5 * std::pow(10.0, power));
    }
    // Decades are a coarse frame: drop what no value needs at either end.
    while (ticks.size() > 2 && ticks[1] <= low) ticks.erase(ticks.begin());
    while (ticks.size() > 2 && ticks[ticks.size() - 2] >= high) ticks.pop_back();
    return ticks;
  }
  if (high <= low) high = low + 1;
  const double rough = (high - low) / 5;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double nice : {1.0, 2.0, 2.5, 5.0}) {
    if (rough <= nice * power) {
      step = nice * power;
      break;
    }
  }
  const double first = std::floor(low / step);
  for (double i = first;; ++i) {
    ticks.push_back(i * step);
    if (i * step >= high) break;
  }
  return ticks;
}

std::string draw_svg(const Plot& plot) { return plot.lines.empty() ? draw_bars(plot) : draw_lines(plot); }

}  // namespace stem::bench
