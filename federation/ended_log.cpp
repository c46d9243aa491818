#include "federation/ended_log.hpp"

#include <xxhash.h>

namespace stem::federation {

EndMark end_mark(std::string_view task_id) { return ::XXH3_64bits(task_id.data(), task_id.size()); }

void append_mark(std::string& marks, std::string_view task_id) {
  const EndMark mark = end_mark(task_id);
  for (std::size_t i = 0; i < sizeof mark; ++i) marks += static_cast<char>(mark >> 8 * i);
}

}  // namespace stem::federation
