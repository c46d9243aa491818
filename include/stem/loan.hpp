// A payload written where it will be read: no copy. Dropped, it is given back; if the process dies, it
// is reclaimed.
#pragma once

#include <cstring>
#include <memory>
#include <utility>

#include "stem/handle.hpp"

namespace stem {

// Belongs to the thread that took it.
template <class R>
class Loan {
 public:
  Loan(detail::Port& port, std::unique_ptr<detail::LoanedSlot> slot) noexcept : port_(&port), slot_(std::move(slot)) {}

  // Empty once published.
  std::span<std::byte> bytes() noexcept { return slot_ ? slot_->payload() : std::span<std::byte>{}; }

  Result<Handle<R>> publish() {
    if (!slot_) return Error{Errc::kRefused, "this loan has been published already"};
    detail::Enqueued e = slot_->publish();
    slot_.reset();
    if (e.error) return std::move(*e.error);
    return Handle<R>(*port_, e.id, e.duplicate);
  }

 private:
  detail::Port* port_;
  std::unique_ptr<detail::LoanedSlot> slot_;
};

}  // namespace stem
