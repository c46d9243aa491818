#include "shm/names.hpp"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace stem::shm {
namespace {

struct Table {
  const char* what;
  std::atomic<std::uint64_t>* keys;
  std::atomic<std::uint32_t>* used;
  std::uint32_t capacity;
};

Table queue_table(const Segment& s) {
  return {"queue", s.at<std::atomic<std::uint64_t>>(s.layout().queue_keys), &s.header().queues_used,
          s.geometry().queue_count};
}

Table task_table(const Segment& s) {
  return {"task", s.at<std::atomic<std::uint64_t>>(s.layout().task_keys), &s.header().tasks_used,
          s.geometry().task_count};
}

Result<void> check_name(const char* what, std::string_view name) {
  const bool printable = std::all_of(name.begin(), name.end(), [](unsigned char c) { return c > 32 && c != 127; });
  if (name.empty() || name.size() >= kNameBytes || !printable)
    return Error{Errc::kInvalidArgument, std::string(what) + " name '" + std::string(name) + "' must have 1 to " +
                                             std::to_string(kNameBytes - 1) +
                                             " characters and no spaces or control characters"};
  return {};
}

// Several may complete one row at once; they all write the same bytes.
void complete_row(std::atomic<std::uint32_t>& named, char* into, std::string_view name) {
  if (named.load(std::memory_order_acquire) != 0) return;
  std::memcpy(into, name.data(), name.size());
  named.store(1, std::memory_order_release);
}

void raise_to(std::atomic<std::uint32_t>& counter, std::uint32_t value) {
  std::uint32_t seen = counter.load(std::memory_order_acquire);
  while (seen < value && !counter.compare_exchange_weak(seen, value, std::memory_order_acq_rel)) {
  }
}

Result<std::uint32_t> find(const Table& table, std::string_view name) {
  const std::uint64_t key = name_hash(name);
  const std::uint32_t used = std::min(table.used->load(std::memory_order_acquire), table.capacity);
  for (std::uint32_t i = 0; i < used; ++i)
    if (table.keys[i].load(std::memory_order_acquire) == key) return i;
  return Error{Errc::kNotFound, std::string("no ") + table.what + " named '" + std::string(name) + "'"};
}

// The row's index; the caller completes the name. `commit` puts memory behind row i.
template <class Commit>
Result<std::uint32_t> intern(const Table& table, std::string_view name, Commit commit) {
  if (auto good = check_name(table.what, name); !good) return good.error();
  const std::uint64_t key = name_hash(name);
  for (std::uint32_t i = 0; i < table.capacity; ++i) {
    std::uint64_t there = table.keys[i].load(std::memory_order_acquire);
    if (there == 0) {
      if (!commit(i)) return Error{Errc::kNoMemory, "no room in /dev/shm for another name"};
      if (table.keys[i].compare_exchange_strong(there, key, std::memory_order_acq_rel)) there = key;
    }
    if (there == key) {
      raise_to(*table.used, i + 1);
      return i;
    }
  }
  return Error{Errc::kFull, std::string("the segment has room for ") + std::to_string(table.capacity) + " " +
                                table.what + " names; make it with more"};
}

}  // namespace

std::uint64_t name_hash(std::string_view name) noexcept {
  const std::uint64_t h = XXH3_64bits(name.data(), name.size());
  return h == 0 ? 1 : h;
}

Result<std::uint32_t> intern_queue(Segment& s, std::string_view name) {
  auto id = intern(queue_table(s), name, [&s](std::uint32_t i) {
    return s.commit(s.layout().queues + i * sizeof(QueueRow), sizeof(QueueRow));
  });
  if (id) complete_row(s.queue(*id).named, s.queue(*id).name, name);
  return id;
}

Result<std::uint32_t> intern_task(Segment& s, std::string_view name) {
  auto id = intern(task_table(s), name,
                   [&s](std::uint32_t i) { return s.commit(s.layout().tasks + i * sizeof(TaskRow), sizeof(TaskRow)); });
  if (id) complete_row(s.task(*id).named, s.task(*id).name, name);
  return id;
}

Result<std::uint32_t> find_queue(const Segment& s, std::string_view name) { return find(queue_table(s), name); }
Result<std::uint32_t> find_task(const Segment& s, std::string_view name) { return find(task_table(s), name); }

std::uint32_t queue_total(const Segment& s) noexcept {
  return std::min(s.header().queues_used.load(std::memory_order_acquire), s.geometry().queue_count);
}

std::uint32_t task_total(const Segment& s) noexcept {
  return std::min(s.header().tasks_used.load(std::memory_order_acquire), s.geometry().task_count);
}

std::string_view queue_name(const Segment& s, std::uint32_t id) noexcept {
  const QueueRow& row = s.queue(id);
  if (row.named.load(std::memory_order_acquire) == 0) return {};
  return {row.name, ::strnlen(row.name, kNameBytes)};
}

std::string_view task_name(const Segment& s, std::uint32_t id) noexcept {
  const TaskRow& row = s.task(id);
  if (row.named.load(std::memory_order_acquire) == 0) return {};
  return {row.name, ::strnlen(row.name, kNameBytes)};
}

}  // namespace stem::shm
