# What an outside project needs: headers, static libraries, stemConfig.cmake and stem.pc. Each rule names its Debian
# package as its component (cmake/packages.cmake).
include(CMakePackageConfigHelpers)

set(stem_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/stem")
get_property(stem_floors GLOBAL PROPERTY STEM_FLOORS)

install(DIRECTORY include/stem DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT libstem-dev
  FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h")
# The public templates reach down into the inner floors, and shm is a library of its own.
install(DIRECTORY src/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/stem/internal" COMPONENT libstem-dev
  FILES_MATCHING PATTERN "*.hpp")
install(DIRECTORY shm DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/stem/internal" COMPONENT libstem-dev
  FILES_MATCHING PATTERN "*.hpp")

install(TARGETS ${stem_floors} EXPORT stemTargets ARCHIVE COMPONENT libstem-dev)
install(TARGETS stem_c EXPORT stemTargets
  LIBRARY COMPONENT libstem NAMELINK_COMPONENT libstem-dev)
install(EXPORT stemTargets NAMESPACE stem:: DESTINATION "${stem_cmake_dir}" COMPONENT libstem-dev)

# The build tree is a package, too: stem_DIR may name it.
export(EXPORT stemTargets NAMESPACE stem:: FILE "${PROJECT_BINARY_DIR}/stemTargets.cmake")

configure_package_config_file(cmake/stemConfig.cmake.in "${PROJECT_BINARY_DIR}/stemConfig.cmake"
  INSTALL_DESTINATION "${stem_cmake_dir}")
# Before 1.0 a minor version may break its users.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/stemConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/stemConfig.cmake"
  "${PROJECT_BINARY_DIR}/stemConfigVersion.cmake"
  DESTINATION "${stem_cmake_dir}" COMPONENT libstem-dev)

# Static libraries are searched in the order given: a floor stands before those below it.
set(stem_pc_libs "")
foreach(floor IN LISTS stem_floors)
  get_target_property(kind ${floor} TYPE)
  if(kind STREQUAL "STATIC_LIBRARY")
    set(stem_pc_libs "-l${floor} ${stem_pc_libs}")
  endif()
endforeach()
string(STRIP "${stem_pc_libs}" stem_pc_libs)
# The paths are relative to the file, so that an installed tree can be staged and moved.
set(stem_pc_dir "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH stem_pc_prefix "${stem_pc_dir}" "${CMAKE_INSTALL_PREFIX}")
file(RELATIVE_PATH stem_pc_libdir "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
file(RELATIVE_PATH stem_pc_includedir "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
configure_file(cmake/stem.pc.in "${PROJECT_BINARY_DIR}/stem.pc" @ONLY)
configure_file(cmake/stem-c.pc.in "${PROJECT_BINARY_DIR}/stem-c.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/stem.pc" "${PROJECT_BINARY_DIR}/stem-c.pc" 
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT libstem-dev)

# Where Debian's Python looks; elsewhere it is a directory for PYTHONPATH.
install(DIRECTORY python/stem DESTINATION "lib/python3/dist-packages" COMPONENT python3-stem
  FILES_MATCHING PATTERN "*.py" PATTERN "py.typed" PATTERN "__pycache__" EXCLUDE)
