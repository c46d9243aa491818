#include "api/attachments.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <vector>

namespace stem::api {
namespace {

struct Entry {
  std::uint64_t serial;
  std::weak_ptr<void> client;
  std::unique_ptr<Attachment> attachment;
};
using Entries = std::vector<Entry>;

// Plain pointers, so that they can be used at any time of a thread's life, even while it ends.
struct Thread {
  std::uint64_t last_serial = 0;
  Attachment* last = nullptr;
  Entries* entries = nullptr;
};
constinit thread_local Thread this_thread;

struct ThreadEnd {
  ~ThreadEnd() {
    delete this_thread.entries;
    this_thread = {};
  }
};

std::atomic<std::uint64_t> forks{1};

// A forked child has one thread, and nothing of its attachments is its own: neither the mapping nor the
// right to the roster rows. They are forgotten, not destroyed.
void forget_in_child() {
  forks.fetch_add(1, std::memory_order_relaxed);
  if (this_thread.entries != nullptr)
    for (Entry& e : *this_thread.entries) (void)e.attachment.release();
  if (this_thread.entries != nullptr) this_thread.entries->clear();
  this_thread.last_serial = 0;
  this_thread.last = nullptr;
}

}  // namespace

std::uint64_t fork_generation() noexcept {
  static const int registered = ::pthread_atfork(nullptr, nullptr, forget_in_child);
  (void)registered;
  return forks.load(std::memory_order_relaxed);
}

Attachment* find_attachment(std::uint64_t serial) noexcept {
  Thread& t = this_thread;
  if (t.last_serial == serial) [[likely]]
    return t.last;
  if (t.entries == nullptr) return nullptr;
  const auto found =
      std::find_if(t.entries->begin(), t.entries->end(), [serial](const Entry& e) { return e.serial == serial; });
  if (found == t.entries->end()) return nullptr;
  t.last_serial = serial;
  return t.last = found->attachment.get();
}

Attachment* keep_attachment(std::uint64_t serial, std::weak_ptr<void> client, std::unique_ptr<Attachment> made) {
  thread_local ThreadEnd end;
  (void)end;
  Thread& t = this_thread;
  if (t.entries == nullptr) t.entries = new Entries;
  // Clients that were closed on other threads left theirs here.
  std::erase_if(*t.entries, [](const Entry& e) { return e.client.expired(); });
  t.entries->push_back({serial, std::move(client), std::move(made)});
  t.last_serial = serial;
  return t.last = t.entries->back().attachment.get();
}

void drop_attachment(std::uint64_t serial) noexcept {
  Thread& t = this_thread;
  if (t.last_serial == serial) t.last_serial = 0;
  if (t.entries != nullptr) std::erase_if(*t.entries, [serial](const Entry& e) { return e.serial == serial; });
}

}  // namespace stem::api
