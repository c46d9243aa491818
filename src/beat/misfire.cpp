// Planned times that have passed: which they are, and how many.
#include <algorithm>
#include <deque>

#include "beat/scheduler.hpp"

namespace stem::beat {

std::vector<std::int64_t> latest_planned(const StoredEntry& stored, std::int64_t base_ns, std::int64_t now_ns,
                                         std::size_t most) {
  const auto next = [&stored](std::int64_t after_ns) {
    return stored.entry.spec.next(after_ns, stored.since_ns, stored.entry.zone);
  };
  if (base_ns >= now_ns || most == 0) return {};
  // Windows that end now and double in length: an outage of a month costs no walk through its every second.
  std::deque<std::int64_t> found;
  for (std::int64_t window_ns = kSecondNs;; window_ns *= 2) {
    const bool whole = window_ns >= now_ns - base_ns || window_ns > (std::int64_t{1} << 61);
    std::int64_t at_ns = whole ? base_ns : now_ns - window_ns;
    found.clear();
    for (auto planned = next(at_ns); planned && *planned <= now_ns; planned = next(at_ns)) {
      found.push_back(at_ns = *planned);
      if (found.size() > most) found.pop_front();
    }
    if (whole || found.size() >= most) return {found.begin(), found.end()};
  }
}

std::uint64_t count_planned(const StoredEntry& stored, std::int64_t base_ns, std::int64_t until_ns,
                            std::uint64_t most) {
  const Spec& spec = stored.entry.spec;
  std::uint64_t count = 0;
  auto planned = spec.next(base_ns, stored.since_ns, stored.entry.zone);
  if (const auto every = spec.every_ns(); every && planned && *planned < until_ns)
    return static_cast<std::uint64_t>((until_ns - *planned - 1) / *every) + 1;
  while (planned && *planned < until_ns && count < most) {
    ++count;
    planned = spec.next(*planned, stored.since_ns, stored.entry.zone);
  }
  return count;
}

}  // namespace stem::beat
