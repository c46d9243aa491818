// A process that writes the journal of one namespace: waits until it may, writes until it is told to stop.
#pragma once

#include <functional>
#include <string>

#include "base/result.hpp"
#include "journal/writer.hpp"

namespace stem::journal {

struct ServeOptions {
  std::string name_space = "stem";
  std::string shm_directory;  // empty = the usual one
  std::string directory;      // of the journal; empty = default_directory()/name_space
  WriterOptions writer;
};

// The journal's directory of a namespace.
Result<std::string> directory_of(const ServeOptions& options);
// Whether there is a journal to bring back.
bool has_files(const std::string& directory);

// Returns when `stop` says so, with what had changed until then on disk, or when the segment has gone. What the disk or another writer refuses is logged, and tried
// again.
Result<void> serve(const ServeOptions& options, const std::function<bool()>& stop);

}  // namespace stem::journal
