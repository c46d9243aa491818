#include "journal/batch.hpp"

#include <algorithm>
#include <new>

namespace stem::journal {

void Batch::grow(std::uint64_t bytes) {
  const std::uint64_t room = whole_blocks(std::max(bytes, room_ * 2));
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, room));
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, room);
  if (data_ != nullptr) std::memcpy(memory, data_.get(), used_);
  data_.reset(memory);
  room_ = room;
}

std::span<const std::byte> Batch::seal(BatchHeader header) noexcept {
  header.bytes = static_cast<std::uint32_t>(used_ - sizeof header);
  header.records = records_;
  header.checksum = 0;
  std::memcpy(data_.get(), &header, sizeof header);
  header.checksum = checksum_of_batch({data_.get(), used_}, header.salt);
  std::memcpy(data_.get(), &header, sizeof header);
  const std::uint64_t whole = whole_blocks(used_);
  std::memset(data_.get() + used_, 0, whole - used_);
  return {data_.get(), whole};
}

}  // namespace stem::journal
