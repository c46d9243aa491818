// example_hello_producer [NAME]
#include <cstdio>

#include "stem/client.hpp"
#include "tasks.hpp"

int main(int argc, char** argv) {
  auto client = stem::Client::open();
  if (!client) return std::fprintf(stderr, "%s\n", client.error().message.c_str()), 1;
  auto handle = client->enqueue(greet, argc > 1 ? argv[1] : "world");
  if (!handle) return std::fprintf(stderr, "%s\n", handle.error().message.c_str()), 1;
  auto greeting = handle->get(std::chrono::seconds(10));
  if (!greeting) return std::fprintf(stderr, "%s\n", greeting.error().message.c_str()), 1;
  std::printf("%s\n", greeting->c_str());
}
