#include "journal/disk_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "journal/file_maker.hpp"
#include "journal/format.hpp"

namespace stem::journal {
namespace {

namespace fs = std::filesystem;

// One queue for all files: only one write is on its way at a time.
class Uring {
 public:
  Uring() { open_ = io_uring_queue_init(4, &uring_, 0) == 0; }
  ~Uring() { close(); }
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  bool open() const { return open_; }

  // 0 or a negative errno.
  int start(int fd, std::uint64_t offset, std::span<const std::byte> from) {
    io_uring_sqe* entry = io_uring_get_sqe(&uring_);
    if (entry == nullptr) return -EBUSY;
    io_uring_prep_write(entry, fd, from.data(), static_cast<unsigned>(from.size()), offset);
    const int submitted = io_uring_submit(&uring_);
    if (submitted == 1) return 0;
    close();
    return submitted < 0 ? submitted : -EIO;
  }

  // What the write returned.
  int finish() {
    io_uring_cqe* done = nullptr;
    int rc = 0;
    do {
      rc = io_uring_wait_cqe(&uring_, &done);
    } while (rc == -EINTR);
    if (rc < 0) {
      close();
      return rc;
    }
    const int result = done->res;
    io_uring_cqe_seen(&uring_, done);
    return result;
  }

 private:
  // What failed once may still have an entry or a completion in the ring, which the next write would take for its own.
  // From here on it is pwrite.
  void close() {
    if (open_) io_uring_queue_exit(&uring_);
    open_ = false;
  }

  io_uring uring_{};
  bool open_ = false;
};

class DiskFile final : public StoreFile {
 public:
  DiskFile(int fd, std::uint64_t bytes, std::string path, Uring& uring, DiskLoad& load)
      : fd_(fd), bytes_(bytes), path_(std::move(path)), uring_(uring), load_(load) {}
  ~DiskFile() override { ::close(fd_); }

  std::uint64_t bytes() const override { return bytes_; }

  Result<void> start(std::uint64_t offset, std::span<const std::byte> from) override {
    offset_ = offset;
    from_ = from;
    load_.begin(from.size());
    if (!uring_.open()) return {};  // written by finish()
    const int rc = uring_.start(fd_, offset, from);
    if (rc == 0) return {};
    load_.end();
    return failed(-rc);
  }

  // Never a second write after a short one: what the file holds then is not known.
  Result<void> finish() override {
    const long wrote = uring_.open() ? uring_.finish() : write_plainly();
    load_.end();
    if (wrote < 0) return failed(static_cast<int>(-wrote));
    if (static_cast<std::size_t>(wrote) == from_.size()) return {};
    return Error{Errc::kSystem, "write " + path_ + ": only " + std::to_string(wrote) + " of " +
                                    std::to_string(from_.size()) + " bytes were written"};
  }

 private:
  long write_plainly() const {
    ssize_t wrote = 0;
    do {
      wrote = ::pwrite(fd_, from_.data(), from_.size(), static_cast<off_t>(offset_));
    } while (wrote < 0 && errno == EINTR);
    return wrote < 0 ? -errno : wrote;
  }

  Error failed(int error) const {
    errno = error;
    return system_error("write " + path_);
  }

  int fd_;
  std::uint64_t bytes_;
  std::string path_;
  Uring& uring_;
  DiskLoad& load_;
  std::uint64_t offset_ = 0;
  std::span<const std::byte> from_;
};

class DiskStore final : public Store {
 public:
  DiskStore(std::string directory, std::atomic<std::uint64_t>* zeroed_bytes)
      : directory_(std::move(directory)), maker_(load_, zeroed_bytes == nullptr ? zeroed_bytes_ : *zeroed_bytes) {}

  Result<std::vector<std::string>> names() override {
    std::vector<std::string> found;
    std::error_code error;
    for (fs::directory_iterator it(directory_, error), end; !error && it != end; it.increment(error))
      found.push_back(it->path().filename().string());
    if (error) return Error{Errc::kSystem, "read directory " + directory_ + ": " + error.message()};
    return found;
  }

  Result<std::unique_ptr<StoreFile>> create(const std::string& name, std::uint64_t bytes) override {
    if (!maker_.take(unfinished(name), bytes) || !give_name(name).ok()) {
      if (auto made = maker_.make(unfinished(name), bytes); !made.ok()) return made.error();
      if (auto named = give_name(name); !named.ok()) return named.error();
    }
    return open(name);
  }

  void prepare(const std::string& name, std::uint64_t bytes) override {
    if (!maker_.has_begun() && ::access(path(name).c_str(), F_OK) != 0) maker_.begin(unfinished(name), bytes);
  }

  Result<std::unique_ptr<StoreFile>> open(const std::string& name) override {
    constexpr int kFlags = O_WRONLY | O_DSYNC | O_CLOEXEC | O_NOFOLLOW;
    int fd = ::open(path(name).c_str(), kFlags | O_DIRECT);
    if (fd < 0 && errno == EINVAL) fd = ::open(path(name).c_str(), kFlags);  // the file system refuses O_DIRECT
    if (fd < 0) return system_error("open " + path(name));
    struct stat s {};
    if (::fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) {
      ::close(fd);
      return Error{Errc::kCorrupt, path(name) + " is no file"};
    }
    return std::unique_ptr<StoreFile>(
        std::make_unique<DiskFile>(fd, static_cast<std::uint64_t>(s.st_size), path(name), uring_, load_));
  }

  Result<Contents> read(const std::string& name) override {
    const int fd = ::open(path(name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return system_error("open " + path(name));
    auto all = read_all(fd, path(name));
    ::close(fd);
    return all;
  }

  Result<void> rename(const std::string& from, const std::string& to) override {
    if (::rename(path(from).c_str(), path(to).c_str()) == 0) return {};
    return system_error("rename " + path(from));
  }

  Result<void> remove(const std::string& name) override {
    if (::unlink(path(name).c_str()) == 0) return {};
    return system_error("remove " + path(name));
  }

  Result<void> sync_names() override { return sync(directory_); }

 private:
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  static Result<void> sync(const std::string& directory) {
    const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return system_error("open " + directory);
    const int rc = ::fsync(fd);
    const int error = errno;
    ::close(fd);
    errno = error;
    if (rc != 0) return system_error("fsync " + directory);
    return {};
  }

  std::string unfinished(const std::string& name) const { return path(name) + kUnfinishedSuffix; }

  // Names are changed by who writes, and by nobody else: he has files open by their names.
  Result<void> give_name(const std::string& name) const {
    if (::rename(unfinished(name).c_str(), path(name).c_str()) == 0) return sync(directory_);
    auto failed = system_error("rename " + unfinished(name));
    ::unlink(unfinished(name).c_str());
    return failed;
  }

  static Result<Contents> read_all(int fd, const std::string& path) {
    struct stat s {};
    if (::fstat(fd, &s) != 0) return system_error("stat " + path);
    if (!S_ISREG(s.st_mode)) return Error{Errc::kCorrupt, path + " is no file"};
    Contents all;
    all.bytes = static_cast<std::size_t>(s.st_size);
    all.data = std::make_unique_for_overwrite<std::byte[]>(all.bytes);
    for (std::size_t at = 0; at < all.bytes;) {
      const ssize_t got = ::pread(fd, all.data.get() + at, all.bytes - at, static_cast<off_t>(at));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return system_error("read " + path);
      if (got == 0) return Error{Errc::kTruncated, path + " became shorter while it was read"};
      at += static_cast<std::size_t>(got);
    }
    return all;
  }

  std::string directory_;
  Uring uring_;
  DiskLoad load_;
  std::atomic<std::uint64_t> zeroed_bytes_{0};
  FileMaker maker_;
};

// The names of new directories are on disk when those who hold them are. Where one cannot be opened, the file system
// decides.
void sync_parents(const std::string& directory) {
  for (fs::path at = fs::path(directory).parent_path(); !at.empty() && at != at.root_path(); at = at.parent_path()) {
    const int fd = ::open(at.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)::fsync(fd);
    ::close(fd);
  }
}

Result<void> make_directory(const std::string& directory) {
  std::error_code error;
  if (const fs::path parent = fs::path(directory).parent_path(); !parent.empty()) fs::create_directories(parent, error);
  if (::mkdir(directory.c_str(), 0700) == 0)
    sync_parents(directory);
  else if (errno != EEXIST)
    return system_error("make directory " + directory);
  struct stat s {};
  if (::lstat(directory.c_str(), &s) != 0) return system_error("stat " + directory);
  if (!S_ISDIR(s.st_mode)) return Error{Errc::kInvalidArgument, directory + " is no directory"};
  if (s.st_uid != ::geteuid() || (s.st_mode & 022) != 0)
    return Error{Errc::kWrongOwner, directory + " belongs to another user, or others may write to it"};
  return {};
}

}  // namespace

Result<std::unique_ptr<Store>> open_disk_store(const std::string& directory, std::atomic<std::uint64_t>* zeroed_bytes) {
  if (auto made = make_directory(directory); !made.ok()) return made.error();
  return std::unique_ptr<Store>(std::make_unique<DiskStore>(directory, zeroed_bytes));
}

Result<WriterLock> WriterLock::take(const std::string& directory) {
  if (auto made = make_directory(directory); !made.ok()) return made.error();
  const std::string path = directory + "/lock";
  const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return system_error("open " + path);
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return WriterLock(fd);
  const int error = errno;
  ::close(fd);
  errno = error;
  if (error == EWOULDBLOCK) return Error{Errc::kRefused, "another process writes the journal in " + directory};
  return system_error("lock " + path);
}

WriterLock::WriterLock(WriterLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }

WriterLock::~WriterLock() {
  if (fd_ >= 0) ::close(fd_);
}

namespace {

std::string mark_path(const std::string& directory, std::uint32_t epoch) {
  return fmt::format("{}/segment-{:08x}", directory, epoch);
}

}  // namespace

Result<SegmentMark> SegmentMark::take(const std::string& directory, std::uint32_t epoch) {
  if (auto made = make_directory(directory); !made.ok()) return made.error();
  const std::string path = mark_path(directory, epoch);
  for (;;) {
    const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return system_error("open " + path);
    SegmentMark mark(fd);
    if (::flock(fd, LOCK_SH) != 0) {
      if (errno == EINTR) continue;
      return system_error("lock " + path);
    }
    struct stat s {};
    if (::fstat(fd, &s) == 0 && s.st_nlink != 0) return mark;  // else it was removed before we had it
  }
}

bool SegmentMark::is_held(const std::string& directory, std::uint32_t epoch) {
  const std::string path = mark_path(directory, epoch);
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return errno != ENOENT;  // who cannot be asked may be there
  const bool held = ::flock(fd, LOCK_EX | LOCK_NB) != 0;
  if (!held) (void)::unlink(path.c_str());
  ::close(fd);
  return held;
}

SegmentMark::SegmentMark(SegmentMark&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }

SegmentMark::~SegmentMark() {
  if (fd_ >= 0) ::close(fd_);
}

Result<std::string> default_directory() {
  const auto set = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (std::string own = set("STEM_JOURNAL_DIRECTORY"); !own.empty()) return own;
  if (const std::string state = set("XDG_STATE_HOME"); !state.empty()) return state + "/stem/journal";
  if (const std::string home = set("HOME"); !home.empty()) return home + "/.local/state/stem/journal";
  return Error{Errc::kNotFound, "no directory for the journal: set STEM_JOURNAL_DIRECTORY"};
}

}  // namespace stem::journal
