#include "io/file.hpp"

#include <unistd.h>

#include <algorithm>

namespace stem {
namespace co {

OpenFile::OpenFile(std::string path, int flags, std::uint32_t mode)
    : Operation(
          {.kind = io::Request::Kind::kOpen, .flags = static_cast<std::uint32_t>(flags | O_CLOEXEC), .mode = mode}),
      path_(std::move(path)) {
  request_.path = path_.c_str();
}

Result<File> OpenFile::await_resume() {
  if (result_ < 0) return error("open " + path_);
  return File(result_);
}

Result<void> Act::await_resume() const {
  if (result_ < 0) return error(what_);
  return {};
}

StatFile::StatFile(std::string path, int fd)
    : Operation({.kind = io::Request::Kind::kStat, .fd = fd, .data = &found_}), path_(std::move(path)) {
  request_.path = fd < 0 ? path_.c_str() : nullptr;
}

Result<FileInfo> StatFile::await_resume() const {
  if (result_ < 0) return error(path_.empty() ? "stat an open file" : "stat " + path_);
  const auto since = std::chrono::seconds(found_.stx_mtime.tv_sec) + std::chrono::nanoseconds(found_.stx_mtime.tv_nsec);
  return FileInfo{.bytes = found_.stx_size,
                  .mode = found_.stx_mode,
                  .modified = std::chrono::system_clock::time_point(
                      std::chrono::duration_cast<std::chrono::system_clock::duration>(since))};
}

}  // namespace co

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Co<Result<void>> File::close() {
  const int fd = std::exchange(fd_, -1);
  if (fd < 0) co_return Result<void>();
  co::Scope& scope = co_await co::Here{};
  if (scope.stopped() != co::Stop::kNone) {
    if (::close(fd) != 0) co_return system_error("close a file");
    co_return Result<void>();
  }
  co_return co_await co::Act({.kind = io::Request::Kind::kClose, .fd = fd}, "close a file");
}

Co<Result<std::string>> read_file(std::string path, std::size_t most_bytes) {
  Result<File> file = co_await File::open(path);
  if (!file) co_return file.error();
  Result<FileInfo> info = co_await file->stat();
  if (!info) co_return info.error().within(path);
  std::string bytes;
  most_bytes = std::min(most_bytes, bytes.max_size() / 2);  // what follows counts beyond it
  // One more than it says: so its end is seen with the first read. Files of /proc say 0.
  bytes.resize(std::min<std::size_t>(std::max<std::size_t>(info->bytes, 4095), most_bytes) + 1);
  std::size_t there = 0;
  for (;;) {
    Result<std::size_t> got =
        co_await file->read(std::as_writable_bytes(std::span(bytes.data() + there, bytes.size() - there)), there);
    if (!got) co_return got.error().within(path);
    there += *got;
    if (there > most_bytes)
      co_return Error{Errc::kTooLarge, path + ": more than " + std::to_string(most_bytes) + " bytes"};
    if (*got == 0) break;
    if (there == bytes.size()) bytes.resize(std::min(bytes.size() * 2, most_bytes + 1));
  }
  bytes.resize(there);
  co_return bytes;
}

Co<Result<void>> write_file(std::string path, std::string bytes) {
  Result<File> file = co_await File::open(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file) co_return file.error();
  for (std::size_t done = 0; done < bytes.size();) {
    Result<std::size_t> wrote = co_await file->write(std::as_bytes(std::span(bytes).subspan(done)), done);
    if (!wrote) co_return wrote.error().within(path);
    if (*wrote == 0) co_return Error{Errc::kSystem, path + ": the file takes no more"};
    done += *wrote;
  }
  Result<void> closed = co_await file->close();
  if (!closed) co_return closed.error().within(path);
  co_return closed;
}

}  // namespace stem
