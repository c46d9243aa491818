// New segments of a namespace that has a journal. Until its writer has begun, nobody would know which queues have one,
// and what is enqueued there would be lost with the next power cut: so whoever makes a segment gives the queues first
// the settings that the journal remembers. Those with a journal then refuse until it is written (docs/journal.md).
#pragma once

#include <memory>

#include "base/result.hpp"
#include "shm/segment.hpp"

namespace stem::journal {

// As those of shm::Segment. kCorrupt, or what the disk says, when the journal cannot be read: then there is no segment.
Result<std::shared_ptr<shm::Segment>> create(const shm::SegmentOptions& options);
Result<std::shared_ptr<shm::Segment>> open_or_create(const shm::SegmentOptions& options);

}  // namespace stem::journal
