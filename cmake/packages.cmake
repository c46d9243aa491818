# Debian packages, one for each component:   cmake --build build/release && (cd build/release && cpack)
#
#   libstem        libstem-c.so.1, what programs in C and Python load
#   libstem-dev    headers, static libraries, find_package(stem), pkg-config stem and stem-c
#   stem-tools     the program stem, its manual pages, completions and systemd units
#   python3-stem   the Python package
set(stem_packages libstem libstem-dev python3-stem)
if(STEM_BUILD_TOOLS)
  list(APPEND stem_packages stem-tools)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME stem)
set(CPACK_PACKAGE_CONTACT "Stem maintainers <maintainers@stem.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_DIRECTORY "${PROJECT_BINARY_DIR}/packages")
set(CPACK_COMPONENTS_ALL ${stem_packages})
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE gzip)
set(stem_deb_version "${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}")

set(CPACK_DEBIAN_LIBSTEM_PACKAGE_NAME libstem)
set(CPACK_DEBIAN_LIBSTEM_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=") # the symbols of a version are there in all later ones
set(CPACK_COMPONENT_LIBSTEM_DESCRIPTION "C interface: the shared library that programs in C, Python and other
languages load. Any process of a host enqueues by writing into a mapped
segment; worker processes claim, run and acknowledge.")

set(CPACK_DEBIAN_LIBSTEM-DEV_PACKAGE_NAME libstem-dev)
set(CPACK_DEBIAN_LIBSTEM-DEV_PACKAGE_SECTION libdevel)
string(CONCAT CPACK_DEBIAN_LIBSTEM-DEV_PACKAGE_DEPENDS
  "libstem (= ${stem_deb_version}), libfmt-dev, libspdlog-dev, nlohmann-json3-dev, libxxhash-dev, liburing-dev,"
  " libhowardhinnant-date-dev,"
  " pkg-config | pkgconf")
set(CPACK_COMPONENT_LIBSTEM-DEV_DESCRIPTION "Development files: headers and static libraries for C++20, the header of the
C interface, and files for find_package and pkg-config.")

set(CPACK_DEBIAN_STEM-TOOLS_PACKAGE_NAME stem-tools)
set(CPACK_DEBIAN_STEM-TOOLS_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_STEM-TOOLS_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_STEM-TOOLS_PACKAGE_DEPENDS "tzdata, systemd | systemd-standalone-sysusers")
set(CPACK_DEBIAN_STEM-TOOLS_PACKAGE_SUGGESTS "redis-server, libstem-dev, bash-completion")
set(stem_scripts postinst prerm postrm)
list(TRANSFORM stem_scripts PREPEND "${PROJECT_SOURCE_DIR}/tools/systemd/")
set(CPACK_DEBIAN_STEM-TOOLS_PACKAGE_CONTROL_EXTRA ${stem_scripts})
set(CPACK_COMPONENT_STEM-TOOLS_DESCRIPTION "The command line stem: workers, schedules and the gateway to other hosts, and
commands that look at queues, tasks and dead letters and steer them. With
manual pages, completions and systemd units.")

set(CPACK_DEBIAN_PYTHON3-STEM_PACKAGE_NAME python3-stem)
set(CPACK_DEBIAN_PYTHON3-STEM_PACKAGE_SECTION python)
set(CPACK_DEBIAN_PYTHON3-STEM_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PYTHON3-STEM_PACKAGE_DEPENDS "python3 (>= 3.11), libstem (>= ${PROJECT_VERSION})")
set(CPACK_COMPONENT_PYTHON3-STEM_DESCRIPTION "Python interface: producers, results, and workers whose handlers are Python
functions, each in a process of its own.")

foreach(package IN LISTS stem_packages)
  install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "share/doc/${package}" RENAME copyright
    COMPONENT ${package})
  install(FILES "${PROJECT_SOURCE_DIR}/CHANGELOG.md" DESTINATION "share/doc/${package}" RENAME changelog
    COMPONENT ${package})
endforeach()

include(CPack)
