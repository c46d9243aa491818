// The figures of a segment in Prometheus' text form, with the names of the reference: '.' is '_', the
// unit comes last, counters end in _total.
#pragma once

#include <string>

#include "tools/stem/observe/look.hpp"

namespace stem::cli {

// Of a look at all parts.
std::string prometheus_text(const Look& before, const Look& now, const Attachment& attachment);

}  // namespace stem::cli
