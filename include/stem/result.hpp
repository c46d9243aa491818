// Result<T>: a value, or an Error with a sentence a person can act on. Used for what the environment
// may refuse (a file, a limit, bad input). Expected outcomes of hot operations are enums instead.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace stem {

// What kind of thing went wrong; stable, for programs. `Error::message` is for people.
enum class Errc {
  kInvalidArgument,  // the caller's value is out of range or does not parse
  kNotFound,         // no such segment, queue, task
  kNotReady,         // the segment is still being created
  kWrongVersion,     // the segment was made by another layout version
  kWrongSignature,   // same version, other sizes or features
  kWrongOwner,       // the segment belongs to another user
  kTruncated,        // the segment file is shorter than its header says
  kCorrupt,          // a value in the segment is impossible
  kTooLarge,         // payload or name beyond its limit
  kFull,             // the segment or queue has no room
  kNoMemory,         // /dev/shm has no room
  kDuplicate,        // a unique task is already there
  kTimeout,          // a deadline passed
  kNotDurable,       // the queue's tasks go to the journal, and the journal takes none now
  kRefused,          // the operation is not legal in this state
  kCancelled,        // somebody asked to stop; nothing went wrong
  kSystem,           // a system call failed; the message has its name and errno
};

std::string_view to_string(Errc code) noexcept;

struct Error {
  Errc code = Errc::kSystem;
  std::string message;

  // The same error with what the caller was doing put in front.
  [[nodiscard]] Error within(std::string_view context) const { return {code, std::string(context) + ": " + message}; }
};

// An Error of kSystem for the current errno: "open /dev/shm/x: Permission denied".
[[nodiscard]] Error system_error(std::string_view what);

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  // Only when ok(); otherwise std::bad_variant_access.
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // Only when !ok().
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}
  [[nodiscard]] bool ok() const noexcept { return ok_; }
  explicit operator bool() const noexcept { return ok_; }
  const Error& error() const { return error_; }

 private:
  Error error_;
  bool ok_ = true;
};

}  // namespace stem
