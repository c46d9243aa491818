#include "journal/live_set.hpp"

#include <algorithm>
#include <cstring>

#include "journal/image.hpp"
#include "shm/limits.hpp"

namespace stem::journal {

Life* LiveSet::life_of(std::span<const std::byte> body, TaskKey& key) {
  if (body.size() < sizeof key) return nullptr;
  std::memcpy(&key, body.data(), sizeof key);
  if (key.epoch == 0 || key.slot >= shm::kMaxSlots || key.generation == 0) return nullptr;
  std::vector<Life>& slots = epochs_[key.epoch].slots;
  if (key.slot >= slots.size()) slots.resize(std::max<std::size_t>(key.slot + 1, slots.size() * 2));
  return &slots[key.slot];
}

bool LiveSet::apply(const Record& record) {
  TaskKey key;
  switch (static_cast<RecordType>(record.type)) {
    case RecordType::kNames: return apply_names(record.body);
    case RecordType::kQueue: return apply_queue(record.body);
    case RecordType::kTask: {
      Life* life = life_of(record.body, key);
      if (life == nullptr || !read_task(record.body, {})) return false;
      if (key.generation < life->began) return true;
      life->began = key.generation;
      life->sequence = record.sequence;
      life->image = record.body;
      life->state = {};
      return true;
    }
    case RecordType::kState: {
      Life* life = life_of(record.body, key);
      if (life == nullptr || !is_state(record.body)) return false;
      if (key.generation == life->began) life->state = record.body;
      return true;
    }
    case RecordType::kEnd: {
      Life* life = life_of(record.body, key);
      if (life == nullptr || record.body.size() != sizeof key) return false;
      life->ended = std::max(life->ended, key.generation);
      return true;
    }
  }
  return false;  // of a later version
}

bool LiveSet::apply_names(std::span<const std::byte> body) {
  NamesHead head;
  if (body.size() < sizeof head) return false;
  std::memcpy(&head, body.data(), sizeof head);
  body = body.subspan(sizeof head);
  if (head.kind > static_cast<std::uint16_t>(NameKind::kTask) || head.epoch == 0) return false;
  Epoch& epoch = epochs_[head.epoch];
  auto& names = head.kind == static_cast<std::uint16_t>(NameKind::kQueue) ? epoch.queues : epoch.tasks;
  for (std::uint32_t i = 0; i < head.count; ++i) {
    std::uint16_t bytes = 0;
    if (body.size() < sizeof bytes) return false;
    std::memcpy(&bytes, body.data(), sizeof bytes);
    body = body.subspan(sizeof bytes);
    if (bytes > body.size()) return false;
    names[head.first + i].assign(reinterpret_cast<const char*>(body.data()), bytes);
    body = body.subspan(bytes);
  }
  return body.empty();
}

bool LiveSet::apply_queue(std::span<const std::byte> body) {
  QueueHead head;
  if (body.size() < sizeof head) return false;
  std::memcpy(&head, body.data(), sizeof head);
  if (head.name_bytes != body.size() - sizeof head || head.durability > 2) return false;
  queues_[std::string(reinterpret_cast<const char*>(body.data()) + sizeof head, head.name_bytes)] = head.durability;
  return true;
}

std::uint64_t LiveSet::alive() const {
  std::uint64_t count = 0;
  for (const auto& [id, epoch] : epochs_)
    count += static_cast<std::uint64_t>(
        std::count_if(epoch.slots.begin(), epoch.slots.end(), [](const Life& life) { return life.alive(); }));
  return count;
}

}  // namespace stem::journal
