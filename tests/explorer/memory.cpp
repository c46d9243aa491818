#include "memory.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace explorer {
namespace {

bool acquires(std::memory_order order) {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}
bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}

}  // namespace

std::uint32_t Memory::at(const void* address, unsigned bytes) {
  std::size_t i = (reinterpret_cast<std::uintptr_t>(address) * 0x9e3779b97f4a7c15ull) >> 51;
  for (std::size_t looks = 0; looks < kSlots; ++looks, i = (i + 1) % kSlots) {
    Slot& slot = table_[i];
    if (slot.age == age_ && slot.at != address) continue;
    if (slot.age == age_) return slot.id;
    slot = {address, used_, age_};
    if (used_ == locations_.size()) locations_.emplace_back();
    Location& made = locations_[used_];
    made.at = const_cast<void*>(address);
    made.bytes = bytes;
    made.count = 0;
    made.ordered = 0;
    std::uint64_t value = 0;
    std::memcpy(&value, address, bytes);
    push(made, value);
    return used_++;
  }
  std::fprintf(stderr, "explorer: too many locations\n");
  std::abort();
}

Store& Memory::push(Location& location, std::uint64_t value) {
  if (location.count == location.stores.size()) location.stores.emplace_back();
  Store& made = location.stores[location.count++];
  made.value = value;
  made.carried.clear();
  return made;
}

std::uint32_t Memory::oldest(int actor, std::uint32_t id, bool ordered) const {
  const std::uint32_t seen = sights_[static_cast<std::size_t>(actor)].now.of(id);
  return ordered ? std::max(seen, locations_[id].ordered) : seen;
}

std::uint64_t Memory::read(int actor, std::uint32_t id, std::uint32_t which, std::memory_order order) {
  Location& location = locations_[id];
  Sight& s = sight(actor);
  s.now.raise(id, which);
  const Store& from = location.stores[which];
  s.pending.join(from.carried);
  if (acquires(order)) s.now.join(from.carried);
  if (order == std::memory_order_seq_cst && location.ordered < which) location.ordered = which;
  return from.value;
}

void Memory::write(int actor, std::uint32_t id, std::uint64_t value, std::memory_order order) {
  Location& location = locations_[id];
  Sight& s = sight(actor);
  if (location.count == 1) remember(location.at, location.bytes);
  Store& made = push(location, value);
  const std::uint32_t number = location.count - 1;
  s.now.raise(id, number);
  if (releases(order))
    made.carried = s.now;
  else
    made.carried = s.released;
  made.carried.raise(id, number);
  if (order == std::memory_order_seq_cst) location.ordered = number;
  std::memcpy(location.at, &value, location.bytes);
}

void Memory::replace(int actor, std::uint32_t id, std::uint64_t value, std::memory_order order) {
  (void)read(actor, id, newest(id), order);
  const std::uint32_t before = newest(id);
  write(actor, id, value, order);
  locations_[id].stores[before + 1].carried.join(locations_[id].stores[before].carried);
}

void Memory::fence(int actor, std::memory_order order) {
  Sight& s = sight(actor);
  if (acquires(order)) s.now.join(s.pending);
  if (releases(order)) s.released = s.now;
}

void Memory::drop_newest(std::uint32_t id) {
  Location& location = locations_[id];
  --location.count;
  std::memcpy(location.at, &location.stores[location.count - 1].value, location.bytes);
  for (Sight& s : sights_)
    for (View* view : {&s.now, &s.pending, &s.released})
      if (view->of(id) >= location.count) {
        View lower;  // a view can only be raised
        view->swap(lower);
        for (std::uint32_t i = 0; i < used_; ++i) view->raise(i, i == id ? location.count - 1 : lower.of(i));
      }
  if (location.ordered >= location.count) location.ordered = location.count - 1;
}

bool Memory::seen_by_others(int actor, std::uint32_t id) const {
  for (int i = 0; i < kMostActors; ++i)
    if (i != actor && sights_[static_cast<std::size_t>(i)].now.of(id) >= newest(id)) return true;
  return false;
}

bool Memory::watched(const void* at) const {
  const auto* byte = static_cast<const std::byte*>(at);
  return std::any_of(watched_.begin(), watched_.end(),
                     [byte](const Range& r) { return byte >= r.from && byte < r.from + r.bytes; });
}

void Memory::remember(void* at, std::size_t bytes) {
  if (!watched(at)) return;
  for (auto* from = static_cast<std::byte*>(at); bytes > 0;) {
    Original original{from, std::min<std::size_t>(bytes, 8), 0};
    std::memcpy(&original.was, from, original.bytes);
    originals_.push_back(original);
    from += original.bytes;
    bytes -= original.bytes;
  }
}

void Memory::rewind() {
  for (auto original = originals_.rbegin(); original != originals_.rend(); ++original)
    std::memcpy(original->at, &original->was, original->bytes);
  originals_.clear();
}

void Memory::forget_histories() {
  ++age_;
  used_ = 0;
  for (Sight& s : sights_) {
    s.now.clear();
    s.pending.clear();
    s.released.clear();
  }
}

}  // namespace explorer
