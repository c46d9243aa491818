# Compiler flags, output directories and the compiler cache: one place for the whole house.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

# A shared object with handlers (stem worker start --app) links the static libraries.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ${STEM_IPO})

if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release or RelWithDebInfo" FORCE)
  endif()
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
  set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
  set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")

  find_program(STEM_CCACHE ccache)
  mark_as_advanced(STEM_CCACHE)
  if(STEM_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    # Sloppy about two things only: precompiled headers are cached by what is in them.
    set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros "${STEM_CCACHE}")
  endif()
endif()

# Frame pointers, symbols and lines in every build: crash records and profiles must name functions.
# Variables (-g) only where somebody debugs: they cost a fifth of the compile time.
# No -Wpedantic: 128-bit products and flexible array members are used on purpose.
# Designated initializers leave out what has its default, so that is not worth a warning either.
add_compile_options(
  $<IF:$<CONFIG:Release>,-g1,-g> -fno-omit-frame-pointer
  -Wall -Wextra -Wno-missing-field-initializers -Wshadow -Wextra-semi -Wvla -Wnon-virtual-dtor
  -Werror=return-type -Werror=unused-result)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns of "text" + std::string, wrongly (GCC bug 105651).
  add_compile_options(-Wno-restrict)
endif()
add_compile_options($<$<CONFIG:Debug>:-D_GLIBCXX_ASSERTIONS>)

if(STEM_NATIVE)
  add_compile_options(-march=native)
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  add_compile_options(-fsized-deallocation)  # C++14's, which it leaves out before version 19
endif()
if(STEM_SANITIZE)
  add_compile_options(-fsanitize=${STEM_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${STEM_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND STEM_SANITIZE MATCHES "undefined")
    # Its mark before each function cannot be assembled where a coroutine has been split ("difference across sections").
    add_compile_options(-fno-sanitize=function)
  endif()
endif()
