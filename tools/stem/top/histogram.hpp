// A histogram of times as bars, one line a step of 1, 2, 5, 10, ...
#pragma once

#include <string>
#include <vector>

#include "base/histogram.hpp"
#include "tools/stem/terminal.hpp"

namespace stem::cli {

// "  50us - 100us   ████████▌      41.2 %   12.3k". Empty when nothing was measured.
std::vector<std::string> histogram_lines(const base::HistogramSummary& histogram, std::size_t width,
                                         const Style& style);

}  // namespace stem::cli
