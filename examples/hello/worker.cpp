// example_hello_worker -c 2
#include "stem/worker.hpp"

#include "tasks.hpp"

int main(int argc, char** argv) {
  return stem::worker_main(argc, argv, [](stem::Worker& worker) {
    worker.on(greet, [](stem::Context&, const std::string& name) { return "Hello, " + name + "!"; });
  });
}
