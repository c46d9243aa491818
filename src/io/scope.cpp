#include "io/scope.hpp"

namespace stem::co {

Scope::Scope(Scope& parent, Kind kind) noexcept : root_(parent.root_), kind_(kind) {
  if (kind == Kind::kPlain || root_.doomed()) stopped_ = parent.stopped_;
  insert_before(parent.children_);
}

void Scope::cancel(Stop why) noexcept { cancel_all(why, /*shielded_too=*/false); }

// Nothing resumes meanwhile, so both lists stand still.
void Scope::cancel_all(Stop why, bool shielded_too) noexcept {
  if (stopped_ == Stop::kNone) stopped_ = why;
  for (Hook* child = children_.next; child != &children_; child = child->next) {
    Scope& scope = *static_cast<Scope*>(child);
    if (shielded_too || (scope.kind_ == Kind::kPlain && scope.stopped_ == Stop::kNone))
      scope.cancel_all(why, shielded_too);
  }
  for (Hook* waiter = waiters_.next; waiter != &waiters_; waiter = waiter->next)
    static_cast<Waiter*>(waiter)->call_off();
}

const Waiter* Scope::first_waiter() const noexcept {
  if (!waiters_.alone()) return static_cast<const Waiter*>(waiters_.next);
  for (const Hook* child = children_.next; child != &children_; child = child->next)
    if (const Waiter* waiter = static_cast<const Scope*>(child)->first_waiter()) return waiter;
  return nullptr;
}

void Root::doom() noexcept {
  if (over_ || doomed_) return;
  doomed_ = true;
  scope_.cancel_all(Stop::kTimeout, /*shielded_too=*/true);
  // What was called off comes back through the loop. With nothing under way nobody would come.
  if (under_way_ == 0) end_doomed();
}

void Root::end_doomed() {
  if (under_way_ != 0) return;
  over_ = true;
  finished();
}

}  // namespace stem::co
