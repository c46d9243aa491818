# cmake -DROOT=<directory> -DOUT=<file.cpp> -DHEADER=<header> -P embed_files.cmake -- <file below ROOT>...
#
# Writes a .cpp that holds the files' bytes: stem::cli::embedded_files() of HEADER, by their paths below ROOT.
set(files)
set(is_file FALSE)
foreach(i RANGE ${CMAKE_ARGC})
  if(is_file AND NOT "${CMAKE_ARGV${i}}" STREQUAL "")
    list(APPEND files "${CMAKE_ARGV${i}}")
  elseif("${CMAKE_ARGV${i}}" STREQUAL "--")
    set(is_file TRUE)
  endif()
endforeach()

set(arrays "")
set(rows "")
set(n 0)
foreach(file IN LISTS files)
  file(READ "${ROOT}/${file}" bytes HEX)
  file(SHA256 "${ROOT}/${file}" digest)
  string(SUBSTRING "${digest}" 0 16 digest)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  string(APPEND arrays "constexpr unsigned char kFile${n}[] = {${bytes}0};\n")
  string(APPEND rows "    {\"/${file}\", \"\\\"${digest}\\\"\", {reinterpret_cast<const char*>(kFile${n}), sizeof kFile${n} - 1}},\n")
  math(EXPR n "${n} + 1")
endforeach()

file(WRITE "${OUT}.new" "// Made by cmake/embed_files.cmake of the files below ${ROOT}.
#include \"${HEADER}\"

namespace stem::cli {
namespace {

${arrays}
const EmbeddedFile kFiles[] = {
${rows}};

}  // namespace

std::span<const EmbeddedFile> embedded_files() { return kFiles; }

}  // namespace stem::cli
")
file(COPY_FILE "${OUT}.new" "${OUT}" ONLY_IF_DIFFERENT)
