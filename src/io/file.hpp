// Files, by coroutine. On io_uring; where that is refused, in a few threads (file_threads.hpp).
//
//   auto file = co_await stem::File::open("a.jpg");
//   if (!file) co_return stem::fail(file.error().message);
//   auto bytes = co_await file->read(buffer, 0);
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/result.hpp"
#include "io/co.hpp"
#include "io/operation.hpp"

namespace stem {

struct FileInfo {
  std::uint64_t bytes = 0;
  std::uint32_t mode = 0;  // as of stat(2)
  std::chrono::system_clock::time_point modified;

  bool is_directory() const noexcept { return S_ISDIR(mode); }
};

class File;

namespace co {

class OpenFile final : public Operation {
 public:
  OpenFile(std::string path, int flags, std::uint32_t mode);
  Result<File> await_resume();

 private:
  std::string path_;
};

// A count.
class Transfer final : public Operation {
 public:
  Transfer(const io::Request& request, const char* what) noexcept : Operation(request), what_(what) {}
  Result<std::size_t> await_resume() const {
    if (result_ < 0) [[unlikely]]
      return error(what_);
    return static_cast<std::size_t>(result_);
  }

 private:
  const char* what_;
};

// Done or not.
class Act final : public Operation {
 public:
  Act(const io::Request& request, const char* what) noexcept : Operation(request), what_(what) {}
  Result<void> await_resume() const;

 private:
  const char* what_;
};

class StatFile final : public Operation {
 public:
  StatFile(std::string path, int fd);
  Result<FileInfo> await_resume() const;

 private:
  std::string path_;
  struct statx found_ {};
};

inline constexpr std::size_t kMostTransfer = std::size_t{1} << 30;  // the count must fit the result

}  // namespace co

class File {
 public:
  File() = default;
  explicit File(int fd) noexcept : fd_(fd) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~File();  // closes, without telling what close(2) says: await close() to know

  // As open(2); O_CLOEXEC is always set.
  static co::OpenFile open(std::string path, int flags = O_RDONLY, std::uint32_t mode = 0644) {
    return {std::move(path), flags, mode};
  }
  static co::StatFile stat(std::string path) { return {std::move(path), -1}; }

  int fd() const noexcept { return fd_; }
  // May be less than asked; 0 at the end of the file. The buffer stays as it is meanwhile.
  co::Transfer read(std::span<std::byte> into, std::uint64_t offset) const noexcept {
    return {{.kind = io::Request::Kind::kRead,
             .fd = fd_,
             .data = into.data(),
             .bytes = static_cast<std::uint32_t>(std::min(into.size(), co::kMostTransfer)),
             .offset = offset},
            "read a file"};
  }
  co::Transfer write(std::span<const std::byte> from, std::uint64_t offset) const noexcept {
    return {{.kind = io::Request::Kind::kWrite,
             .fd = fd_,
             .data = const_cast<std::byte*>(from.data()),
             .bytes = static_cast<std::uint32_t>(std::min(from.size(), co::kMostTransfer)),
             .offset = offset},
            "write a file"};
  }
  co::StatFile stat() const { return {{}, fd_}; }
  // What was written is on the disk.
  co::Act sync() const noexcept { return {{.kind = io::Request::Kind::kSync, .fd = fd_}, "sync a file"}; }
  // Also in a handler that is cancelled: then at once.
  Co<Result<void>> close();

 private:
  int fd_ = -1;
};

// The whole of it, at most `most_bytes` (kTooLarge).
Co<Result<std::string>> read_file(std::string path, std::size_t most_bytes = std::size_t{64} << 20);
// Instead of what was there. Not atomic, not synced.
Co<Result<void>> write_file(std::string path, std::string bytes);

}  // namespace stem
