# Unit tests: one program and one ctest test for each tests/unit/test_NAME.c. Script tests: tests/*.
find_package(PkgConfig REQUIRED)
pkg_check_modules(CHECK REQUIRED IMPORTED_TARGET check)
find_package(Python3 REQUIRED COMPONENTS Interpreter)

set(UNIT_TESTS arena codes diag jit json map npy pool str vec)
foreach(name IN LISTS UNIT_TESTS)
  add_executable(test_${name} tests/unit/test_${name}.c)
  target_link_libraries(test_${name} PRIVATE plait_core PkgConfig::CHECK)
  add_test(NAME unit_${name} COMMAND test_${name})
  set_tests_properties(unit_${name} PROPERTIES ENVIRONMENT "CK_DEFAULT_TIMEOUT=120" TIMEOUT 600)
endforeach()

add_test(NAME layers COMMAND ${PROJECT_SOURCE_DIR}/tests/layers.sh ${PROJECT_SOURCE_DIR})
