#include "tests/federation/fixtures.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace stem::test {
namespace {

std::filesystem::path directory() { return std::filesystem::path(STEM_SOURCE_DIR) / "tests/federation/fixtures"; }

std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && text[i + 1] == 'x') {
      out += static_cast<char>(std::stoi(std::string(text.substr(i + 2, 2)), nullptr, 16));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

std::vector<std::string> fixture_names(const std::string& prefix) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory())) {
    const std::string name = entry.path().filename();
    if (name.starts_with(prefix)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  if (names.empty()) {
    std::fprintf(stderr, "no fixture begins with %s\n", prefix.c_str());
    std::abort();
  }
  return names;
}

std::string fixture_text(const std::string& name) {
  std::ifstream file(directory() / name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

OwnedFields parse_stream_fixture(const std::string& text) {
  OwnedFields fields;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t equals = line.find('=');
    fields.emplace_back(unescaped(line.substr(0, equals)), unescaped(line.substr(equals + 1)));
  }
  return fields;
}

std::vector<federation::TextField> views_of(const OwnedFields& fields) {
  std::vector<federation::TextField> views;
  for (const auto& [name, text] : fields) views.push_back({name, text});
  return views;
}

Poison parse_poison(const std::string& text) {
  const std::size_t end = text.find('\n');
  return {text.substr(2, end - 2), text.substr(end + 1)};
}

}  // namespace stem::test
