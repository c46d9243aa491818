// A segment of the test's own for the program to work on, and a worker in the test to run its tasks.
#pragma once

#include <atomic>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "engine/engine.hpp"
#include "run_stem.hpp"
#include "shm/segment.hpp"

namespace stem::cli_test {

class Scene {
 public:
  // A directory of its own under /dev/shm, without a segment in it.
  Scene();
  ~Scene();
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  [[nodiscard]] RunOptions options() const;
  [[nodiscard]] Outcome run(const std::vector<std::string>& args) const;
  // What it printed as JSON; fails the test unless it ended with this code.
  [[nodiscard]] nlohmann::json run_json(std::vector<std::string> args, int exit_code = 0) const;
  // `sh -c`, for pipes.
  [[nodiscard]] Outcome shell(const std::string& line) const;

  // The segment of the default namespace; made small if it is not there.
  std::shared_ptr<shm::Segment> segment();
  // The id that `stem enqueue` printed.
  [[nodiscard]] std::string enqueue(const std::vector<std::string>& args) const;

  [[nodiscard]] const std::string& directory() const { return directory_; }

 private:
  std::string directory_;
};

// What becomes of a task in the hands of the test's worker.
enum class End { kSucceed, kFail, kBury };

// Claims tasks of one queue on its own thread until it is destroyed.
class TestWorker {
 public:
  using Handler = std::function<End(const engine::TaskView& task, std::string& result)>;
  TestWorker(std::shared_ptr<shm::Segment> segment, std::string queue, Handler handler);
  ~TestWorker();
  TestWorker(const TestWorker&) = delete;
  TestWorker& operator=(const TestWorker&) = delete;

  // Waits until so many tasks have ended.
  void await(std::uint64_t count) const;

 private:
  void run();

  std::shared_ptr<shm::Segment> segment_;
  std::string queue_;
  Handler handler_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> ended_{0};
  std::thread thread_;
};

std::vector<std::string> lines_of(const std::string& text);

}  // namespace stem::cli_test
