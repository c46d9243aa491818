# stem_floor(<target> <name> [NOT_INSTALLED] [PUBLIC <library>...] [PRIVATE <library>...])
#
# One floor of the house: a static library of the .cpp files in the current directory, exported as
# stem::<name>. A directory that holds headers only becomes an interface library; the kind changes
# by itself when the first .cpp appears. NOT_INSTALLED: for our own programs alone.
function(stem_floor target name)
  cmake_parse_arguments(PARSE_ARGV 2 floor "NOT_INSTALLED" "" "PUBLIC;PRIVATE")

  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  if(sources)
    add_library(${target} STATIC ${sources})
    target_link_libraries(${target} PUBLIC ${floor_PUBLIC} PRIVATE ${floor_PRIVATE})
    set(scope PUBLIC)
  else()
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE ${floor_PUBLIC} ${floor_PRIVATE})
    set(scope INTERFACE)
  endif()
  add_library(stem::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})

  # Include roots: "base/check.hpp", "shm/ring.hpp", "stem/client.hpp". Installed, the inner floors
  # live below include/stem/internal, so that they cannot clash with anybody's own "base/".
  target_include_directories(${target} ${scope}
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/stem/internal>)
  target_compile_features(${target} ${scope} cxx_std_20)

  if(NOT floor_NOT_INSTALLED)
    set_property(GLOBAL APPEND PROPERTY STEM_FLOORS ${target})
  endif()
endfunction()

# stem_unity(<target>)
#
# With STEM_UNITY the target's sources are compiled six at a time, because reading the same headers is most of what
# they cost. Names in their unnamed namespaces must differ then. Not for hot paths: those stay as they were measured.
function(stem_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${STEM_UNITY} UNITY_BUILD_BATCH_SIZE 6)
endfunction()

# stem_program(<target> <output name> <source>... ) and what it links comes with the caller's own
# target_link_libraries. Programs go to <build>/bin.
function(stem_program target output)
  add_executable(${target} ${ARGN})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${output})
endfunction()
