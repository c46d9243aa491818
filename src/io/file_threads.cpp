#include "io/file_threads.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace stem::io {
namespace {

std::int32_t perform(const Request& r) {
  ssize_t rc = -1;
  switch (r.kind) {
    case Request::Kind::kOpen: rc = ::open(r.path, static_cast<int>(r.flags), r.mode); break;
    case Request::Kind::kRead: rc = ::pread(r.fd, r.data, r.bytes, static_cast<off_t>(r.offset)); break;
    case Request::Kind::kWrite: rc = ::pwrite(r.fd, r.data, r.bytes, static_cast<off_t>(r.offset)); break;
    case Request::Kind::kStat:
      rc = ::statx(r.path == nullptr ? r.fd : AT_FDCWD, r.path == nullptr ? "" : r.path,
                   r.path == nullptr ? AT_EMPTY_PATH : 0, STATX_BASIC_STATS, static_cast<struct statx*>(r.data));
      break;
    case Request::Kind::kSync: rc = ::fdatasync(r.fd); break;
    case Request::Kind::kClose: rc = ::close(r.fd); break;
    default: errno = ENOSYS; break;
  }
  return rc < 0 ? -errno : static_cast<std::int32_t>(rc);
}

}  // namespace

Result<std::unique_ptr<FileThreads>> FileThreads::create() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return system_error("eventfd");
  std::unique_ptr<FileThreads> made(new FileThreads(fd));
  // Signals are for the loop's thread, whose wait they must end.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    for (std::size_t i = 0; i < kThreads; ++i) made->threads_.emplace_back([threads = made.get()] { threads->run(); });
  } catch (const std::system_error&) {  // as many as there are
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (made->threads_.empty()) return Error{Errc::kSystem, "no thread for files can be made"};
  return made;
}

FileThreads::~FileThreads() {
  {
    const std::lock_guard guard(mutex_);
    ending_ = true;
  }
  arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  ::close(fd_);
}

void FileThreads::start(std::uint32_t slot, const Request& request) {
  {
    const std::lock_guard guard(mutex_);
    waiting_.push_back({slot, &request});
  }
  arrived_.notify_one();
}

bool FileThreads::cancel(std::uint32_t slot) {
  const std::lock_guard guard(mutex_);
  return std::erase_if(waiting_, [slot](const Job& job) { return job.slot == slot; }) != 0;
}

void FileThreads::take(std::vector<Done>& done) {
  std::uint64_t count = 0;
  (void)!::read(fd_, &count, sizeof count);  // before the list: what comes after it rings again
  const std::lock_guard guard(mutex_);
  done.insert(done.end(), done_.begin(), done_.end());
  done_.clear();
}

void FileThreads::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    arrived_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (ending_) return;
    const Job job = waiting_.front();
    waiting_.pop_front();
    lock.unlock();
    const std::int32_t result = perform(*job.request);
    lock.lock();
    done_.push_back({job.slot, result});
    const std::uint64_t one = 1;
    (void)!::write(fd_, &one, sizeof one);
  }
}

}  // namespace stem::io
