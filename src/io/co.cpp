#include "io/co.hpp"

#include <new>

namespace stem::co {
namespace {

thread_local FrameUse t_use;

}  // namespace

FrameUse frame_use() noexcept { return t_use; }

void* new_frame(std::size_t bytes) {
  void* const frame = ::operator new(bytes);
  ++t_use.frames;
  ++t_use.made;
  t_use.bytes += bytes;
  return frame;
}

void delete_frame(void* frame, std::size_t bytes) noexcept {
  --t_use.frames;
  t_use.bytes -= bytes;
  ::operator delete(frame, bytes);
}

}  // namespace stem::co
