// Tasks that the test's worker program runs.
#pragma once

#include <cstdint>
#include <string>

#include "stem/json.hpp"
#include "stem/task.hpp"

namespace stem::api_tests {

struct Span {
  std::int64_t start_ns;
  std::int64_t end_ns;
  int pid;
};
struct Request {
  std::string name;
  int count = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Request, name, count)

inline constexpr Task<std::string(Request)> repeat{"repeat"};
inline constexpr Task<int(int)> throws{"throws", {.max_retries = 0}};
inline constexpr Task<int(int)> dies_once{"dies-once"};
inline constexpr Task<Span(int)> alone{"alone", {.concurrency_limit = 1}};
inline constexpr Task<Span(int)> where{"where"};
inline constexpr Task<std::string(int)> until_stopped{"until-stopped", {.max_retries = 0}};
inline constexpr Task<std::string(int)> soft{"soft", {.soft_time_limit = 30ms}};
inline constexpr Task<int(int)> hard{"hard", {.max_retries = 0, .hard_time_limit = 50ms}};
inline constexpr Task<int(int)> retried_by_us{"retried-by-us", {.retry = {.kind = RetryKind::kUser}}};
inline constexpr Task<int(int)> parent{"parent"};

}  // namespace stem::api_tests
