#include "engine/links.hpp"

#include <cstring>

#include "base/random.hpp"
#include "engine/extension.hpp"
#include "shm/names.hpp"

namespace stem::engine {
namespace {

struct LinkHead {
  std::uint32_t queue;
  std::uint32_t task;
  std::uint32_t payload_bytes;
  std::uint16_t max_retries;
  std::uint8_t priority;
  std::uint8_t flags;  // bit 0 keep_result, bit 1 in_place
};
static_assert(sizeof(LinkHead) == 16);

}  // namespace

void append_link(std::string& encoded, const TaskSpec& child) {
  LinkHead head{};
  head.queue = child.queue;
  head.task = child.task;
  head.payload_bytes = static_cast<std::uint32_t>(child.payload.size());
  head.max_retries = child.max_retries;
  head.priority = child.priority;
  head.flags = static_cast<std::uint8_t>((child.keep_result ? 1 : 0) | (child.in_place ? 2 : 0));
  encoded.append(reinterpret_cast<const char*>(&head), sizeof head);
  encoded.append(reinterpret_cast<const char*>(child.payload.data()), child.payload.size());
}

bool renumber_links(std::string& encoded, const NameNumber& queue_of, const NameNumber& task_of) {
  for (std::size_t at = 0; at < encoded.size();) {
    LinkHead head;
    if (encoded.size() - at < sizeof head) return false;
    std::memcpy(&head, encoded.data() + at, sizeof head);
    const auto queue = queue_of(head.queue);
    const auto task = task_of(head.task);
    if (!queue || !task || head.payload_bytes > encoded.size() - at - sizeof head) return false;
    head.queue = *queue;
    head.task = *task;
    std::memcpy(encoded.data() + at, &head, sizeof head);
    at += sizeof head + head.payload_bytes;
  }
  return true;
}

void enqueue_links(Engine& engine, std::uint32_t slot, shm::ControlWord settled, bool error,
                   std::int64_t now_ns) noexcept {
  const shm::Segment& segment = engine.segment();
  const shm::Descriptor& d = segment.descriptor(slot);
  if (d.block == 0 || (d.flags & shm::kHasExtension) == 0) return;
  const auto block =
      engine.blocks().bytes(d.block - 1, shm::block_tag(slot, settled.generation(), shm::BlockKind::kPayload));
  std::uint32_t offset = 0;
  const auto extras = read_extension(block, offset);
  if (!extras) return;
  std::string_view rest = error ? extras->link_error : extras->link;
  const std::string meta =
      "{\"stem.parent\":\"" + to_string(TaskId::make(segment.epoch(), slot, settled.generation())) + "\"}";
  for (std::uint64_t position = 0; rest.size() >= sizeof(LinkHead); ++position) {
    LinkHead head;
    std::memcpy(&head, rest.data(), sizeof head);
    rest.remove_prefix(sizeof head);
    if (head.payload_bytes > rest.size() || head.queue >= shm::queue_total(segment) ||
        head.task >= shm::task_total(segment))
      return;
    TaskExtras child_extras;
    child_extras.unique_key =
        base::mix64(TaskId::make(1, slot, settled.generation()).handle ^
                    base::mix64(position * 2 + (error ? 1 : 0) + (std::uint64_t{segment.epoch()} << 32))) |
        1;  // with the epoch: a child that a journal brought back must not stand for another's
    child_extras.meta = meta;
    TaskSpec child;
    child.queue = head.queue;
    child.task = head.task;
    child.priority = head.priority;
    child.max_retries = head.max_retries;
    child.keep_result = (head.flags & 1) != 0;
    child.in_place = (head.flags & 2) != 0;
    child.payload = std::as_bytes(std::span(rest.data(), head.payload_bytes));
    child.extras = &child_extras;
    // A full segment cannot make a finished task unfinished: the loss is counted as a drop.
    const EnqueueResult made = engine.enqueue(child, now_ns);
    if (made.status != EnqueueStatus::kOk && made.status != EnqueueStatus::kDuplicate)
      engine.count_lost_link(head.queue);
    // Whoever made it may have been killed before he told the journal.
    if (made.status == EnqueueStatus::kDuplicate) engine.note_change(head.queue, made.id.slot());
    rest.remove_prefix(head.payload_bytes);
  }
}

}  // namespace stem::engine
