// Where journal files lie, as the journal needs it: a flat directory of files that are made once, overwritten in
// whole blocks, and read as a whole. The real one is a directory (disk_store.hpp); tests have one that loses power.
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace stem::journal {

inline constexpr std::uint64_t kBlockBytes = 4096;  // offsets, sizes and addresses of writes are multiples of it

class StoreFile {
 public:
  virtual ~StoreFile() = default;
  virtual std::uint64_t bytes() const = 0;
  // Starts an overwrite within bytes(). One at a time; `from` is aligned, and stays until finish().
  virtual Result<void> start(std::uint64_t offset, std::span<const std::byte> from) = 0;
  // Waits for its end: all of it is on stable storage, or an error, after which nothing is known of it and the file
  // must not be written any more.
  virtual Result<void> finish() = 0;
};

// What a file holds; not initialised twice, since files are large.
struct Contents {
  std::unique_ptr<std::byte[]> data;
  std::size_t bytes = 0;
  std::span<const std::byte> span() const { return {data.get(), bytes}; }
};

class Store {
 public:
  virtual ~Store() = default;
  virtual Result<std::vector<std::string>> names() = 0;
  // A new file that reads as zeros, its blocks its own, on stable storage; in place of what had the name.
  virtual Result<std::unique_ptr<StoreFile>> create(const std::string& name, std::uint64_t bytes) = 0;
  // A head start for create(), which takes it as it is and gives it the name: until then another may get that name. Nothing
  // is begun while the name is there, or while what was begun before has not been taken.
  virtual void prepare(const std::string& name, std::uint64_t bytes) = 0;
  virtual Result<std::unique_ptr<StoreFile>> open(const std::string& name) = 0;
  virtual Result<Contents> read(const std::string& name) = 0;
  // Changes of names are on stable storage after sync_names(), not before.
  virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
  virtual Result<void> remove(const std::string& name) = 0;
  virtual Result<void> sync_names() = 0;
};

}  // namespace stem::journal
