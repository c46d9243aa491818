// The worker program: stem::worker_main() forks, pins and supervises; this is all that is the user's.
#include <unistd.h>

#include <chrono>

#include "file_digest.hpp"
#include "stem/worker.hpp"

int main(int argc, char** argv) {
  return stem::worker_main(argc, argv, [](stem::Worker& worker) {
    worker.on(file_digest, [](stem::Context& context, const std::string& path) -> Digest {
      const auto started = std::chrono::steady_clock::now().time_since_epoch();
      Digest digest = digest_file(path);
      digest.attempt = context.attempt();
      digest.pid = ::getpid();
      digest.started_ns = std::chrono::nanoseconds(started).count();
      return digest;
    });
  });
}
