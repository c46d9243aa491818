#include "journal/live_set.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "journal/image.hpp"
#include "shm/limits.hpp"

namespace stem::journal {

namespace {

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

// At most half full, so that there is always a free place to end at. Slots that are used lie side by side, and so do
// their places.
std::uint32_t& Lives::place_of(std::uint32_t slot) {
  const std::size_t last = places_.size() - 1;  // of a power of two
  for (std::size_t at = slot & last;; at = (at + 1) & last)
    if (places_[at] == 0 || lives_[places_[at] - 1].slot == slot) return places_[at];
}

void Lives::grow() {
  places_.assign(std::max<std::size_t>(64, places_.size() * 2), 0);
  for (std::uint32_t i = 0; i < lives_.size(); ++i) place_of(lives_[i].slot) = i + 1;
}

Life& Lives::of(std::uint32_t slot) {
  if (2 * (lives_.size() + 1) > places_.size()) grow();
  std::uint32_t& place = place_of(slot);
  if (place == 0) {
    lives_.emplace_back().slot = slot;
    place = static_cast<std::uint32_t>(lives_.size());
  }
  return lives_[place - 1];
}

Life* Lives::find(std::uint32_t slot) {
  const std::uint32_t place = places_.empty() ? 0 : place_of(slot);
  return place == 0 ? nullptr : &lives_[place - 1];
}

Life* LiveSet::life_of(std::span<const std::byte> body, TaskKey& key) {
  if (body.size() < sizeof key) return nullptr;
  std::memcpy(&key, body.data(), sizeof key);
  if (key.epoch == 0 || key.slot >= shm::kMaxSlots || key.generation == 0) return nullptr;
  return &epochs_[key.epoch].lives.of(key.slot);
}

bool LiveSet::apply(const Record& record) {
  TaskKey key;
  switch (static_cast<RecordType>(record.type)) {
    case RecordType::kNames: return apply_names(record.body);
    case RecordType::kQueue: return apply_queue(record.body);
    case RecordType::kSettings: return apply_settings(record.body);
    case RecordType::kSchedule: return apply_schedule(record.body);
    case RecordType::kTick: return apply_tick(record.body);
    case RecordType::kTask:
    case RecordType::kResult: {
      const bool over = record.type == static_cast<std::uint32_t>(RecordType::kResult);
      Life* life = life_of(record.body, key);
      const auto image = read_task(record.body, {});
      if (life == nullptr || !image || image->over() != over) return false;
      if (key.generation < life->began) return true;
      life->live_again(key.generation);
      life->over = over;
      life->run = false;
      life->items_over = 0;
      life->began = key.generation;
      life->sequence = record.sequence;
      life->image = record.body;
      life->state = {};
      return true;
    }
    case RecordType::kRun: {
      Life* life = life_of(record.body, key);
      if (life == nullptr || !read_run(record.body)) return false;
      if (key.generation < life->began) return true;
      // Said again, what is over stays over.
      if (key.generation != life->began) life->items_over = 0;
      life->live_again(key.generation);
      life->over = false;
      life->run = true;
      life->began = key.generation;
      life->sequence = record.sequence;
      life->image = record.body;
      life->state = {};
      return true;
    }
    case RecordType::kItems: {
      Life* life = life_of(record.body, key);
      const auto over = read_items(record.body);
      if (life == nullptr || !over) return false;
      if (key.generation == life->began && life->run) life->items_over |= static_cast<std::uint16_t>(*over);
      return true;
    }
    case RecordType::kState: {
      Life* life = life_of(record.body, key);
      if (life == nullptr || !is_state(record.body)) return false;
      if (key.generation == life->began && !life->over) life->state = record.body;
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

void LiveSet::fold_moved_items() {
  const bool any = std::any_of(epochs_.begin(), epochs_.end(), [](const auto& epoch) {
    const Lives& lives = epoch.second.lives;
    return std::any_of(lives.begin(), lives.end(), [](const Life& life) { return life.run && life.alive(); });
  });
  if (!any) return;  // the images need not be read
  for (const auto& [id, epoch] : epochs_)
    for (const Life& life : epoch.lives) {
      const auto image = life.run ? std::nullopt : read_task(life.image, {});
      if (!image || image->former.first.item() == 0) continue;
      const engine::TaskId item = image->former.first;
      const auto its = epochs_.find(item.epoch);
      Life* run = its == epochs_.end() ? nullptr : its->second.lives.find(item.slot());
      if (run != nullptr && run->run && run->began == item.generation())
        run->items_over |= static_cast<std::uint16_t>(engine::item_bit(item.item()));
    }
}

bool LiveSet::apply_names(std::span<const std::byte> body) {
  NamesHead head;
  if (body.size() < sizeof head) return false;
  std::memcpy(&head, body.data(), sizeof head);
  body = body.subspan(sizeof head);
  if (head.kind > static_cast<std::uint16_t>(NameKind::kTask) || head.epoch == 0) return false;
  const bool queues = head.kind == static_cast<std::uint16_t>(NameKind::kQueue);
  const std::uint32_t most = queues ? shm::kMaxQueues : shm::kMaxTaskNames;
  if (head.first > most || head.count > most - head.first) return false;
  Epoch& epoch = epochs_[head.epoch];
  auto& names = queues ? epoch.queues : epoch.tasks;
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
  queues_[text_of(body.subspan(sizeof head))].durability = static_cast<shm::Durability>(head.durability);
  return true;
}

bool LiveSet::apply_settings(std::span<const std::byte> body) {
  SettingsHead head;
  if (body.size() < sizeof head) return false;
  std::memcpy(&head, body.data(), sizeof head);
  if (head.name_bytes != body.size() - sizeof head || head.durability > 2 || head.overflow > 2 || head.paused > 1 ||
      head.lowest_first > 1 || head.dead_retention_ns < 0)
    return false;
  engine::QueueSettings& s = queues_[text_of(body.subspan(sizeof head))];
  s.durability = static_cast<shm::Durability>(head.durability);
  s.overflow = static_cast<shm::Overflow>(head.overflow);
  s.paused = head.paused != 0;
  s.lowest_first = head.lowest_first != 0;
  s.max_length = head.max_length;
  s.concurrency = head.concurrency;
  s.rate = {head.rate_count, head.rate_period_s};
  s.dead_max = head.dead_max;
  s.dead_retention_ns = head.dead_retention_ns;
  return true;
}

bool LiveSet::apply_schedule(std::span<const std::byte> body) {
  ScheduleHead head;
  if (body.size() < sizeof head) return false;
  std::memcpy(&head, body.data(), sizeof head);
  body = body.subspan(sizeof head);
  if (head.id_bytes == 0 || head.id_bytes > body.size() || head.definition_bytes != body.size() - head.id_bytes)
    return false;
  const std::string id = text_of(body.first(head.id_bytes));
  const auto definition = body.subspan(head.id_bytes);
  if (definition.empty()) {
    schedules_.erase(id);
    return true;
  }
  schedules_[id].definition = {reinterpret_cast<const char*>(definition.data()), definition.size()};
  return true;
}

bool LiveSet::apply_tick(std::span<const std::byte> body) {
  TickHead head;
  if (body.size() < sizeof head) return false;
  std::memcpy(&head, body.data(), sizeof head);
  if (head.id_bytes == 0 || head.id_bytes != body.size() - sizeof head || head.planned_ns <= 0) return false;
  Schedule& schedule = schedules_[text_of(body.subspan(sizeof head))];
  schedule.fired_ns = std::max(schedule.fired_ns, head.planned_ns);
  return true;
}

std::uint32_t Life::count() const {
  if (!alive()) return 0;
  if (!run) return 1;
  const auto items = read_run(image);
  if (!items) return 0;
  return static_cast<std::uint32_t>(std::popcount(engine::full_mask(items->head.count) & ~std::uint32_t{items_over}));
}

std::uint64_t LiveSet::count(bool over) const {
  std::uint64_t count = 0;
  for (const auto& [id, epoch] : epochs_)
    for (const Life& life : epoch.lives) count += life.over == over ? life.count() : 0;
  return count;
}

}  // namespace stem::journal
