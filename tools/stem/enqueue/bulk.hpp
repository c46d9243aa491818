// Many tasks from a file of JSON lines.
#pragma once

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

#include "tools/stem/enqueue/order.hpp"
#include "tools/stem/progress_bar.hpp"

namespace stem::cli {

struct BulkOptions {
  std::string source;  // as errors name it
  bool keep_going = false;
  bool keep_results = false;
  bool print_ids = false;
  bool ids_as_json = false;
};

struct BadLine {
  std::uint64_t line = 0;
  std::string message;
  Errc code = Errc::kInvalidArgument;
};

struct BulkReport {
  std::uint64_t lines = 0;
  std::uint64_t enqueued = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t bad = 0;
  std::vector<BadLine> first_bad;  // at most kMostBadLines
  bool stopped = false;            // before the end of the file
};

class Bulk {
 public:
  static constexpr std::size_t kMostBadLines = 100;

  Bulk(Client& client, Order flags, BulkOptions options)
      : client_(client), flags_(std::move(flags)), options_(std::move(options)) {}

  // Reads to the end, or to the first bad line unless it keeps going: what stands before that line is
  // enqueued, of the line itself nothing is.
  BulkReport run(std::istream& in, ProgressBar& progress);

 private:
  struct Waiting {
    std::uint64_t line;
    std::string payload;
  };

  [[nodiscard]] bool take(std::string_view line, ProgressBar& progress);
  [[nodiscard]] bool flush(ProgressBar& progress);
  [[nodiscard]] bool hand_in(const Order& order, ProgressBar& progress);
  [[nodiscard]] bool refuse(std::uint64_t line, const Error& error, ProgressBar& progress);
  void accept(const detail::Enqueued& enqueued);

  Client& client_;
  const Order flags_;
  const BulkOptions options_;
  BulkReport report_;
  std::vector<Waiting> waiting_;  // plain ones, to be handed in together
};

}  // namespace stem::cli
