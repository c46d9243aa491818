# Every outside library, all of them Debian 12 packages (tools/setup installs them).
# An installed Stem finds those of the first block again in stemConfig.cmake and stem.pc.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET GLOBAL libxxhash)
pkg_check_modules(uring REQUIRED IMPORTED_TARGET GLOBAL liburing)

# Redis: its protocol, and TLS to it. No user of the library needs them.
pkg_check_modules(hiredis REQUIRED IMPORTED_TARGET GLOBAL hiredis)
find_package(OpenSSL 3 REQUIRED)

# Time zones of schedules; an inner matter of the beat floor, with the system's /usr/share/zoneinfo.
find_package(date REQUIRED)

# Headers only: the flags of worker_main() and of the programs.
find_package(CLI11 REQUIRED)

if(STEM_BUILD_TOOLS)
  find_package(yaml-cpp REQUIRED)
  # The dashboard's server and client; no library of ours links it.
  pkg_check_modules(httplib REQUIRED IMPORTED_TARGET GLOBAL cpp-httplib)
endif()
if(STEM_BUILD_BENCH)
  find_package(benchmark REQUIRED)
endif()
if(STEM_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
