// Which tasks have ended that nobody waits for: a stream for each queue (Keys::ended), an entry for each step that told
// ends, with a mark of eight bytes for each task. It is written with those ends in one step, and read only by whoever
// has to know of a task that is in no lane any more: after a lost answer, or for a person. Marks are hashes: of a
// billion ended tasks, one in ten billion others would be taken for ended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace stem::federation {

inline constexpr std::int64_t kEndedKeptMs = 3'600'000;  // by the clock of Redis

using EndMark = std::uint64_t;

EndMark end_mark(std::string_view task_id);
void append_mark(std::string& marks, std::string_view task_id);

struct EndedPage {
  std::string from;   // where to read on, also when the log has grown later
  bool more = false;  // at once
};

// Calls `visit` for each mark in a page of the log, a Reply or OwnedReply of kEndedScript. False: it is none. What is not
// of our making is passed over.
template <class Page, class Visit>
bool each_mark(const Page& page, EndedPage& next, Visit visit) {
  if (page.elements.size() != 3) return false;
  for (const auto& entry : page.elements[1].elements) {
    const std::string_view marks = entry.text;
    for (std::size_t at = 0; at + sizeof(EndMark) <= marks.size(); at += sizeof(EndMark)) {
      EndMark mark = 0;
      for (std::size_t i = sizeof mark; i-- > 0;) mark = mark << 8 | static_cast<unsigned char>(marks[at + i]);
      visit(mark);
    }
  }
  next.from = page.elements[0].text;
  next.more = page.elements[2].integer != 0;
  return true;
}

}  // namespace stem::federation
