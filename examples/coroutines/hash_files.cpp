// Hashes every file below a directory, each a task, hundreds of them read at once by one worker process:
//   example_hash_files DIRECTORY          prints what sha256sum would
#include <openssl/evp.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <stdexcept>
#include <vector>

#include "stem/co.hpp"
#include "worker_child.hpp"

namespace {

constexpr stem::Task<std::string(std::string)> kHash{"files.hash", {.max_retries = 0}};

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
  }
  void add(std::span<const std::byte> bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
    unsigned bytes = 0;
    EVP_DigestFinal_ex(context_.get(), digest.data(), &bytes);
    std::string text;
    for (unsigned i = 0; i < bytes; ++i) {
      text += "0123456789abcdef"[digest[i] >> 4];
      text += "0123456789abcdef"[digest[i] & 15];
    }
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

stem::Co<stem::Outcome<std::string>> hash(stem::Context&, const std::string& path) {
  auto file = co_await stem::File::open(path);
  if (!file) co_return stem::fail(file.error().message);
  std::vector<std::byte> buffer(128 * 1024);
  Sha256 sha;
  for (std::uint64_t at = 0;;) {
    auto got = co_await file->read(buffer, at);
    if (!got) throw std::runtime_error(got.error().message);
    if (*got == 0) break;
    sha.add({buffer.data(), *got});
    at += *got;
  }
  co_return sha.hex();
}

int complain(const std::string& what) { return std::fprintf(stderr, "%s\n", what.c_str()), 1; }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: example_hash_files DIRECTORY\n"), 2;
  std::vector<std::string> paths;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator at(argv[1], error), end; !error && at != end; at.increment(error))
    if (at->is_regular_file(error)) paths.push_back(at->path().string());
  if (error) return complain(std::string(argv[1]) + ": " + error.message());
  const WorkerChild child({.concurrency = 1, .banner = false}, [](stem::Worker& worker) { worker.on(kHash, hash); });
  auto client = stem::Client::open(child.name_space());
  if (!client) return complain(client.error().message);
  std::vector<stem::Handle<std::string>> handles;
  for (const std::string& path : paths) {
    auto handle = client->enqueue(kHash, path, {.full_timeout = std::chrono::seconds(60)});
    if (!handle) return complain(handle.error().message);
    handles.push_back(std::move(*handle));
  }
  int failed = 0;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    auto text = handles[i].get(std::chrono::minutes(1));
    if (text)
      std::printf("%s  %s\n", text->c_str(), paths[i].c_str());
    else
      failed = complain(text.error().message);
  }
  return failed;
}
