# Unit tests: one program and one ctest test for each tests/unit/test_NAME.c. Script tests: tests/*.
find_package(PkgConfig REQUIRED)
pkg_check_modules(CHECK REQUIRED IMPORTED_TARGET check)
find_package(Python3 REQUIRED COMPONENTS Interpreter)

set(UNIT_TESTS
  affine arena codes diag jit json map npy pool proc search str vec)
foreach(name IN LISTS UNIT_TESTS)
  add_executable(test_${name} tests/unit/test_${name}.c)
  target_link_libraries(test_${name} PRIVATE plait_core PkgConfig::CHECK)
  add_test(NAME unit_${name} COMMAND test_${name})
  set_tests_properties(unit_${name} PROPERTIES ENVIRONMENT "CK_DEFAULT_TIMEOUT=120" TIMEOUT 600)
endforeach()
if(PLAIT_CLANG)
  foreach(name jit search)    # which then insist on it
    target_compile_definitions(test_${name} PRIVATE PLAIT_CLANG)
    add_dependencies(test_${name} plait-clang)
  endforeach()
endif()

add_test(NAME layers COMMAND ${PROJECT_SOURCE_DIR}/tests/layers.sh ${PROJECT_SOURCE_DIR})
