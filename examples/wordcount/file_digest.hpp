#pragma once

#include <string>

#include "tasks.hpp"

// Reads the file once. Throws std::runtime_error when it cannot be read. Words are counted as wc does in
// the C locale: between white space, and with at least one printable character.
Digest digest_file(const std::string& path);
