#include "federation/key_list.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "federation/json_text.hpp"

namespace stem::federation {
namespace {

constexpr std::string_view kBetween = ", \t\r\n";
constexpr std::size_t kMostIdBytes = 64;
constexpr std::size_t kMostFileBytes = 64 << 10;

Error refusal(std::string message) { return {Errc::kInvalidArgument, std::move(message)}; }

class File {
 public:
  explicit File(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

// Comments go; what is left is as in the environment.
std::string without_comments(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 1);  // one copy, to be wiped
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    out.append(line.substr(0, line.find('#'))).push_back('\n');
  }
  return out;
}

}  // namespace

KeyList::~KeyList() {
  for (auto& [id, key] : keys_) OPENSSL_cleanse(key.data(), key.size());
}

const std::string* KeyList::find(std::string_view id) const {
  const auto found = keys_.find(id);
  return found == keys_.end() ? nullptr : &found->second;
}

Result<KeyList> KeyList::parse(std::string_view text) {
  KeyList list;
  for (int number = 1;; ++number) {
    text.remove_prefix(std::min(text.find_first_not_of(kBetween), text.size()));
    if (text.empty()) return list;
    const std::string_view entry = text.substr(0, text.find_first_of(kBetween));
    text.remove_prefix(entry.size());
    const std::size_t colon = entry.find(':');
    if (colon == entry.npos || colon == 0 || colon > kMostIdBytes)
      return refusal(fmt::format("entry {} is not id:base64", number));
    const std::string id(entry.substr(0, colon));
    if (!is_utf8(id)) return refusal(fmt::format("the id of entry {} is not UTF-8", number));
    auto key = decode_base64(entry.substr(colon + 1));
    if (!key || key->empty()) return refusal(fmt::format("key '{}' is not base64", id));
    if (const auto [at, is_new] = list.keys_.try_emplace(id); is_new)
      at->second.swap(*key);
    else
      OPENSSL_cleanse(key->data(), key->size());
    if (list.keys_.size() != static_cast<std::size_t>(number))
      return refusal(fmt::format("key '{}' is there twice", id));
  }
}

Result<std::string> read_key_file(const std::string& path, bool is_secret) {
  const auto failed = [&path](std::string_view why) { return Error{Errc::kRefused, fmt::format("{}: {}", path, why)}; };
  const File file(path);
  struct stat status {};
  if (file.fd() < 0 || ::fstat(file.fd(), &status) != 0) return failed(::strerror(errno));
  if (!S_ISREG(status.st_mode)) return failed("is not a file");
  if (is_secret && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    return failed(fmt::format("has mode {:04o}; secrets want 0600 (chmod 600)", status.st_mode & 07777));
  if (is_secret && status.st_uid != ::geteuid() && status.st_uid != 0) return failed("belongs to somebody else");
  std::string text(kMostFileBytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(file.fd(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(::strerror(errno));
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  if (size > kMostFileBytes) return failed("is too large for a file of keys");
  std::string keys = without_comments(std::string_view(text).substr(0, size));
  OPENSSL_cleanse(text.data(), text.size());
  return keys;
}

}  // namespace stem::federation
