// The C++ side of the Python tests.
//
//   python_peer work        a worker of the tasks below, on the queue "cpp"
//   python_peer produce     enqueues "py.area" and "py.sum" for a Python worker, and prints their results
#include <cstdio>
#include <cstring>
#include <numeric>

#include "stem/json.hpp"
#include "stem/stem.hpp"

namespace {

struct Box {
  int width = 0, height = 0;
  std::string label{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Box, width, height, label)

struct Area {
  int area = 0;
  std::string of{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Area, area, of)

constexpr stem::Task<Area(Box)> kArea{"cpp.area", {.queue = "cpp"}};
constexpr stem::Task<int(int)> kDouble{"cpp.double", {.queue = "cpp"}};
constexpr stem::Task<std::string(std::string)> kReverse{"cpp.reverse", {.queue = "cpp"}};
constexpr stem::Task<Area(Box)> kPythonArea{"py.area", {.queue = "py"}};
constexpr stem::Task<long(std::vector<long>)> kPythonSum{"py.sum", {.queue = "py"}};

int work() {
  auto worker = stem::Worker::open({}, {.queues = {"cpp"}, .concurrency = 1, .pin = "none"});
  if (!worker) return std::fprintf(stderr, "%s\n", worker.error().message.c_str()), 1;
  worker->on(kArea, [](stem::Context&, const Box& b) { return Area{b.width * b.height, b.label}; });
  worker->on(kDouble, [](stem::Context&, const int& n) { return 2 * n; });
  worker->on(kReverse, [](stem::Context&, const std::string& s) { return std::string(s.rbegin(), s.rend()); });
  return worker->run();
}

int produce() {
  using namespace std::chrono_literals;
  auto client = stem::Client::open();
  if (!client) return std::fprintf(stderr, "%s\n", client.error().message.c_str()), 1;
  auto area = client->enqueue(kPythonArea, {3, 5, "naïve"});
  auto sum = client->enqueue(kPythonSum, {1, 2, 1L << 40});
  if (!area || !sum) return std::fprintf(stderr, "enqueue refused\n"), 1;
  const auto box = area->get(60s);
  const auto total = sum->get(60s);
  if (!box) return std::fprintf(stderr, "%s\n", box.error().message.c_str()), 1;
  if (!total) return std::fprintf(stderr, "%s\n", total.error().message.c_str()), 1;
  std::printf("%d %s %ld\n", box->area, box->of.c_str(), *total);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "work") == 0) return work();
  if (argc == 2 && std::strcmp(argv[1], "produce") == 0) return produce();
  return 2;
}
