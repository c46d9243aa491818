#include "journal/file_maker.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <new>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "journal/format.hpp"

namespace stem::journal {
namespace {

constexpr std::size_t kChunkBytes = 1u << 20;  // of zeros: as long as this somebody waits who wants the file now
// Smaller writes are those of somebody who waits for the disk, not for room on it: they take a share of its time.
constexpr std::uint64_t kLargeWriteBytes = 64u << 10;
// Writers at full speed begin the next write sooner; those of one batch per commit interval (5 ms) leave more.
constexpr std::int64_t kQuietNs = 2'000'000;
constexpr std::int64_t kRestsPerChunk = 3;  // so the zeros take a quarter of the disk's time
constexpr std::int64_t kOnItsWay = std::numeric_limits<std::int64_t>::max();

struct FreeChunk {
  void operator()(std::byte* p) const { std::free(p); }
};

class NewFile {
 public:
  explicit NewFile(const std::string& path) {
    constexpr int kFlags = O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW;
    // Past the page cache: nobody reads these zeros, and copying them is a quarter of a new journal's processor time.
    fd_ = ::open(path.c_str(), kFlags | O_DIRECT, 0600);
    if (fd_ < 0 && errno == EINVAL) fd_ = ::open(path.c_str(), kFlags | O_DSYNC, 0600);
  }
  ~NewFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

// All of its blocks, before anything is written: a disk without room for them is not filled up. False where the file
// system cannot.
Result<bool> reserve(int fd, const std::string& path, std::uint64_t bytes) {
  int rc = 0;
  do {
    rc = ::fallocate(fd, 0, 0, static_cast<off_t>(bytes));
  } while (rc != 0 && errno == EINTR);
  if (rc == 0) return true;
  if (errno == EOPNOTSUPP) return false;
  return system_error("reserve " + path);
}

}  // namespace

void DiskLoad::begin(std::uint64_t bytes) noexcept {
  if (bytes >= kLargeWriteBytes) busy_until_ns_.store(kOnItsWay, std::memory_order_relaxed);
}

void DiskLoad::end() noexcept {
  if (busy_until_ns_.load(std::memory_order_relaxed) == kOnItsWay)
    busy_until_ns_.store(base::monotonic_ns() + kQuietNs, std::memory_order_relaxed);
}

std::int64_t DiskLoad::busy_for_ns() const noexcept {
  const std::int64_t until_ns = busy_until_ns_.load(std::memory_order_relaxed);
  if (until_ns == kOnItsWay) return kQuietNs;
  return until_ns == 0 ? 0 : std::max<std::int64_t>(until_ns - base::monotonic_ns(), 0);
}

FileMaker::~FileMaker() { (void)take({}, 0); }

Result<void> FileMaker::make(const std::string& path, std::uint64_t bytes) {
  const NewFile file(path);
  if (file.fd() < 0) return system_error("create " + path);
  const auto reserved = reserve(file.fd(), path, bytes);
  auto made = reserved.ok() ? fill(file.fd(), path, bytes, Haste::kAll, {}) : Result<void>(reserved.error());
  if (!made.ok()) ::unlink(path.c_str());
  return made;
}

void FileMaker::begin(const std::string& path, std::uint64_t bytes) {
  path_ = path;
  bytes_ = bytes;
  is_whole_ = false;
  wanted_ = false;
  try {
    thread_ = std::jthread([this](const std::stop_token& stop) {
      try {
        is_whole_ = make_at_leisure(stop).ok();
      } catch (const std::bad_alloc&) {
      }
      if (!is_whole_) ::unlink(path_.c_str());
    });
  } catch (const std::exception& error) {
    log::debug("no thread for the journal's next file", {{"error", error.what()}});
  }
}

bool FileMaker::take(const std::string& path, std::uint64_t bytes) {
  if (!has_begun()) return false;
  const bool is_this = path_ == path && bytes_ == bytes;
  if (is_this) {
    {
      const std::lock_guard lock(mutex_);
      wanted_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  thread_ = {};  // stops it, and waits
  if (!is_this && is_whole_) ::unlink(path_.c_str());
  return is_this && is_whole_;
}

// Killed anywhere in it, it leaves a file whose name nobody reads or takes.
Result<void> FileMaker::make_at_leisure(const std::stop_token& stop) {
  const NewFile file(path_);
  if (file.fd() < 0) return system_error("create " + path_);
  const auto reserved = reserve(file.fd(), path_, bytes_);
  if (!reserved.ok()) return reserved.error();
  // Where the file system cannot reserve, all of it are zeros, whoever waits.
  if (!*reserved) return fill(file.fd(), path_, bytes_, Haste::kAll, stop);
  if (::fsync(file.fd()) != 0) return system_error("fsync " + path_);
  return fill(file.fd(), path_, bytes_, Haste::kNone, stop);
}

Result<void> FileMaker::fill(int fd, const std::string& path, std::uint64_t bytes, Haste haste,
                             const std::stop_token& stop) {
  const std::unique_ptr<std::byte, FreeChunk> zeros(
      static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, kChunkBytes)));
  if (zeros == nullptr) return Error{Errc::kNoMemory, "no memory for the zeros of " + path};
  std::memset(zeros.get(), 0, kChunkBytes);
  std::uint64_t at = 0;
  for (std::int64_t rest_ns = 0; at < bytes;) {
    if (haste == Haste::kNone && !wait(rest_ns, stop)) break;
    if (stop.stop_requested()) return Error{Errc::kRefused, path + " is not wanted any more"};
    const std::int64_t begun_ns = base::monotonic_ns();
    const ssize_t wrote = ::write(fd, zeros.get(), std::min<std::uint64_t>(kChunkBytes, bytes - at));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return system_error("write " + path);
    at += static_cast<std::uint64_t>(wrote);
    zeroed_bytes_.fetch_add(static_cast<std::uint64_t>(wrote), std::memory_order_relaxed);
    rest_ns = kRestsPerChunk * (base::monotonic_ns() - begun_ns);
  }
  if (at > 0 && ::fsync(fd) != 0) return system_error("fsync " + path);
  return {};
}

// Until that time is over and the disk has some to give. False when somebody waits for the file as it is.
bool FileMaker::wait(std::int64_t ns, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  for (bool rested = false; !wanted_ && !stop.stop_requested(); rested = true) {
    const std::int64_t left_ns = rested ? load_.busy_for_ns() : ns;
    if (rested && left_ns == 0) break;
    changed_.wait_for(lock, stop, std::chrono::nanoseconds(left_ns), [this] { return wanted_; });
  }
  return !wanted_;
}

}  // namespace stem::journal
