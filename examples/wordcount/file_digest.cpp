#include "file_digest.hpp"

#include <openssl/evp.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    if (context_ == nullptr || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1)
      throw std::runtime_error("OpenSSL has no SHA-256");
  }
  void add(const char* bytes, std::size_t count) { EVP_DigestUpdate(context_.get(), bytes, count); }
  std::string hex() {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), sum, &size);
    std::string text(2 * size, '0');
    for (unsigned int i = 0; i < size; ++i) std::snprintf(&text[2 * i], 3, "%02x", sum[i]);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

bool is_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_printable(unsigned char c) { return c > 0x20 && c < 0x7f; }

}  // namespace

Digest digest_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (file == nullptr) throw std::runtime_error(path + ": " + std::strerror(errno));
  Sha256 sha;
  Digest digest;
  bool in_word = false;
  std::vector<char> buffer(64 * 1024);
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    sha.add(buffer.data(), got);
    digest.bytes += got;
    for (std::size_t i = 0; i < got; ++i) {
      const auto c = static_cast<unsigned char>(buffer[i]);
      digest.lines += c == '\n';
      if (is_space(c)) {
        digest.words += in_word;
        in_word = false;
      } else if (is_printable(c)) {
        in_word = true;
      }
    }
  }
  if (std::ferror(file.get()) != 0) throw std::runtime_error(path + ": " + std::strerror(errno));
  digest.words += in_word;
  digest.sha256 = sha.hex();
  return digest;
}
