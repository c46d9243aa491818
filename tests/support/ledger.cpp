#include "tests/support/ledger.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace stem::test {

namespace {

std::atomic<std::uint64_t>* map_words(int fd, std::size_t bytes) {
  const int kind = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, kind, fd, 0);
  if (base == MAP_FAILED) {
    std::perror("mmap of a ledger");
    std::abort();
  }
  return static_cast<std::atomic<std::uint64_t>*>(base);
}

}  // namespace

Ledger::Ledger(std::size_t capacity) : words_(map_words(-1, capacity * sizeof(std::uint64_t))), capacity_(capacity) {}

Ledger::Ledger(const std::string& path, std::size_t capacity) : capacity_(capacity) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const std::size_t bytes = capacity * sizeof(std::uint64_t);
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    std::perror(path.c_str());
    std::abort();
  }
  words_ = map_words(fd, bytes);
  ::close(fd);
  // The entries are a prefix without gaps: halve.
  std::size_t end = capacity_;
  while (next_ < end) {
    const std::size_t middle = next_ + (end - next_) / 2;
    if (words_[middle].load(std::memory_order_acquire) != 0) {
      next_ = middle + 1;
    } else {
      end = middle;
    }
  }
}

Ledger::~Ledger() { ::munmap(static_cast<void*>(words_), capacity_ * sizeof(std::uint64_t)); }

void Ledger::clear() {
  for (std::size_t i = 0; i < capacity_ && words_[i].load(std::memory_order_relaxed) != 0; ++i)
    words_[i].store(0, std::memory_order_release);
  next_ = 0;
}

std::vector<Entry> Ledger::entries() const {
  std::vector<Entry> all;
  for (std::size_t i = 0; i < capacity_; ++i) {
    const std::uint64_t bits = words_[i].load(std::memory_order_acquire);
    if (bits == 0) break;
    all.push_back(Entry::unpack(bits));
  }
  return all;
}

}  // namespace stem::test
