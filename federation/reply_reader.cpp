#include "federation/reply_reader.hpp"

#include <fmt/format.h>
#include <hiredis/read.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <new>

#include "base/check.hpp"

namespace stem::federation {

// What hiredis calls to make the parts of a reply. It frees none of them: the reader's memory is let go as a whole.
struct ReplyMaker {
  static ReplyReader& reader_of(const redisReadTask* task) { return *static_cast<ReplyReader*>(task->privdata); }

  // An element's place is in its parent's elements; only the outermost reply needs one of its own.
  static Reply* place(const redisReadTask* task) {
    ReplyReader& reader = reader_of(task);
    if (task->parent != nullptr) {
      auto* parent = static_cast<Reply*>(task->parent->obj);
      return const_cast<Reply*>(&parent->elements[static_cast<std::size_t>(task->idx)]);
    }
    if (!reader.afford(sizeof(Reply))) return nullptr;
    return new (reader.take(sizeof(Reply))) Reply;
  }

  static void* string(const redisReadTask* task, char* text, std::size_t bytes) {
    ReplyReader& reader = reader_of(task);
    Reply* reply = place(task);
    if (reply == nullptr || !reader.afford(bytes)) return nullptr;
    auto* copy = reinterpret_cast<char*>(reader.take(bytes));
    std::memcpy(copy, text, bytes);
    reply->text = {copy, bytes};
    reply->kind = task->type == REDIS_REPLY_ERROR    ? Reply::Kind::kError
                  : task->type == REDIS_REPLY_STATUS ? Reply::Kind::kStatus
                                                     : Reply::Kind::kString;
    if (reply->kind == Reply::Kind::kError) reply->error = classify(reply->text);
    return reply;
  }

  static void* array(const redisReadTask* task, int count) {
    ReplyReader& reader = reader_of(task);
    Reply* reply = place(task);
    if (reply == nullptr || count < 0) return nullptr;
    const auto elements = static_cast<std::size_t>(count);
    if (!reader.afford(elements * sizeof(Reply))) return nullptr;
    auto* first = reinterpret_cast<Reply*>(reader.take(elements * sizeof(Reply)));
    std::uninitialized_value_construct_n(first, elements);
    reply->kind = Reply::Kind::kArray;
    reply->elements = {first, elements};
    return reply;
  }

  static void* integer(const redisReadTask* task, long long value) {
    Reply* reply = place(task);
    if (reply == nullptr) return nullptr;
    reply->kind = Reply::Kind::kInteger;
    reply->integer = value;
    return reply;
  }

  static void* nil(const redisReadTask* task) {
    Reply* reply = place(task);
    if (reply != nullptr) reply->kind = Reply::Kind::kNil;
    return reply;
  }

  static void free(void*) {}
};

namespace {

redisReplyObjectFunctions makers{ReplyMaker::string, ReplyMaker::array, ReplyMaker::integer, ReplyMaker::nil,
                                 ReplyMaker::free};

// hiredis moves what is left of its buffer with each reply, so it gets little at a time.
constexpr std::size_t kSliceBytes = 16 * 1024;
constexpr std::size_t kLeastRoom = 16 * 1024, kMostRoom = 1024 * 1024;
constexpr std::size_t kLongestLine = 64 * 1024;  // errors, statuses; the largest Redis writes are far below

}  // namespace

void ReplyReader::Closer::operator()(redisReader* reader) const { redisReaderFree(reader); }

ReplyReader::ReplyReader(std::size_t max_reply_bytes)
    : max_reply_bytes_(max_reply_bytes),
      room_(std::make_unique_for_overwrite<std::byte[]>(kLeastRoom)),
      room_bytes_(kLeastRoom),
      reader_(redisReaderCreateWithFunctions(&makers)) {
  STEM_CHECK(reader_ != nullptr);
  reader_->privdata = this;
}

ReplyReader::~ReplyReader() = default;

void ReplyReader::fail(std::string reason) {
  if (fault_.empty()) fault_ = std::move(reason);
}

bool ReplyReader::afford(std::size_t bytes) {
  // Compared without adding first: the other side chooses the number.
  if (bytes <= max_reply_bytes_ && reply_bytes_ <= max_reply_bytes_ - bytes) {
    reply_bytes_ += bytes;
    return true;
  }
  fail(fmt::format("a reply goes beyond the limit of {} bytes", max_reply_bytes_));
  return false;
}

std::byte* ReplyReader::take(std::size_t bytes) {
  static_assert(alignof(Reply) <= 8 && __STDCPP_DEFAULT_NEW_ALIGNMENT__ >= 8);
  bytes = (bytes + 7) & ~std::size_t{7};
  const std::size_t at = taken_;
  taken_ += bytes;
  if (taken_ <= room_bytes_) return room_.get() + at;
  return static_cast<std::byte*>(beyond_.allocate(std::max<std::size_t>(bytes, 1), 8));
}

void ReplyReader::release() {
  beyond_.release();
  if (taken_ > room_bytes_ && room_bytes_ < kMostRoom) {
    const std::size_t bytes = std::min(std::bit_ceil(taken_), kMostRoom);
    room_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
    room_bytes_ = bytes;
  }
  taken_ = 0;
}

bool ReplyReader::read(std::string_view bytes, const std::function<bool(const Reply&)>& take) {
  bool stopped = false;
  while (!bytes.empty() && !stopped) {
    if (!fault_.empty()) return false;
    const std::string_view slice = bytes.substr(0, kSliceBytes);
    bytes.remove_prefix(slice.size());
    if (redisReaderFeed(reader_.get(), slice.data(), slice.size()) != REDIS_OK) {
      fail(reader_->errstr);
      return false;
    }
    if (!read_complete(take, stopped)) return false;
  }
  return true;
}

bool ReplyReader::read_complete(const std::function<bool(const Reply&)>& take, bool& stopped) {
  while (!stopped) {
    void* made = nullptr;
    if (redisReaderGetReply(reader_.get(), &made) != REDIS_OK) {
      fail(fmt::format("the server does not speak RESP: {}", reader_->errstr));
      return false;
    }
    if (made == nullptr) return pending_is_sound();
    stopped = !take(*static_cast<const Reply*>(made));
    release();
    reply_bytes_ = 0;
  }
  return true;
}

// hiredis waits for the rest of an item however long it says that it is. Behind its cursor is that item, without the
// byte that tells its type.
bool ReplyReader::pending_is_sound() {
  const std::string_view pending(reader_->buf + reader_->pos, reader_->len - reader_->pos);
  const std::size_t line_end = pending.substr(0, kLongestLine).find("\r\n");
  if (line_end == std::string_view::npos) {
    if (pending.size() < kLongestLine) return true;
    fail(fmt::format("a line of a reply is longer than {} bytes", kLongestLine));
    return false;
  }
  if (reader_->ridx < 0 || reader_->rstack[reader_->ridx].type != REDIS_REPLY_STRING) return true;
  const std::string_view length = pending.substr(0, line_end);
  std::size_t announced = 0;
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), announced);
  if (error == std::errc::result_out_of_range ||
      (error == std::errc() && (announced > max_reply_bytes_ || reply_bytes_ > max_reply_bytes_ - announced))) {
    fail(fmt::format("a reply announces {:.20} bytes, beyond the limit of {}", length, max_reply_bytes_));
    return false;
  }
  return true;
}

}  // namespace stem::federation
