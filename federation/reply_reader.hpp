// Replies out of a stream of bytes, read by hiredis into memory of our own that is used again for each reply.
// Whatever comes, memory stays near `max_reply_bytes`: a length is refused when it is announced.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <memory_resource>
#include <string>
#include <string_view>

#include "federation/reply.hpp"

struct redisReader;
struct redisReadTask;

namespace stem::federation {

class ReplyReader {
 public:
  explicit ReplyReader(std::size_t max_reply_bytes);
  ~ReplyReader();
  ReplyReader(const ReplyReader&) = delete;
  ReplyReader& operator=(const ReplyReader&) = delete;

  // Calls `take` for each reply that is complete; it says whether to go on. False when the bytes are not RESP or go
  // beyond a limit: then fault() says why, and the reader is of no more use.
  bool read(std::string_view bytes, const std::function<bool(const Reply&)>& take);
  const std::string& fault() const { return fault_; }

 private:
  friend struct ReplyMaker;
  bool read_complete(const std::function<bool(const Reply&)>& take, bool& stopped);
  bool pending_is_sound();
  bool afford(std::size_t bytes);
  std::byte* take(std::size_t bytes);  // aligned for a Reply; until the next release()
  void release();
  void fail(std::string reason);

  struct Closer {
    void operator()(redisReader* reader) const;
  };
  std::size_t max_reply_bytes_;
  std::size_t reply_bytes_ = 0;  // of the one that is being read
  // Room for most replies, so that they allocate nothing: as much as the largest took, up to a limit.
  std::unique_ptr<std::byte[]> room_;
  std::size_t room_bytes_;
  std::size_t taken_ = 0;                       // of it, and beyond it
  std::pmr::monotonic_buffer_resource beyond_;  // what has no room there
  std::unique_ptr<redisReader, Closer> reader_;
  std::string fault_;
};

}  // namespace stem::federation
