// Keys by their ids, as people write them: "id:base64", with commas, blanks or ends of lines between.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stem::federation {

// Wiped when it goes, and so is what it was made from inside.
class KeyList {
 public:
  // The error says which entry, by its id or its number, and never what a key is.
  static Result<KeyList> parse(std::string_view text);
  KeyList() = default;
  KeyList(KeyList&& from) noexcept { keys_.swap(from.keys_); }
  KeyList& operator=(KeyList&&) = delete;
  ~KeyList();

  bool empty() const { return keys_.empty(); }
  const std::string* find(std::string_view id) const;
  auto begin() const { return keys_.begin(); }
  auto end() const { return keys_.end(); }

 private:
  std::map<std::string, std::string, std::less<>> keys_;
};

// What a file of keys says: lines of "id:base64", `#` begins a comment. A file of secrets is refused when anybody but
// its owner may read or write it. The error has the file's name, never what is in it.
Result<std::string> read_key_file(const std::string& path, bool is_secret);

}  // namespace stem::federation
