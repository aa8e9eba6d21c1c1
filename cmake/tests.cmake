# Unit tests: one program and one ctest test for each tests/unit/test_NAME.c. Script tests: tests/*.
find_package(PkgConfig REQUIRED)
pkg_check_modules(CHECK REQUIRED IMPORTED_TARGET check)
find_package(Python3 REQUIRED COMPONENTS Interpreter)

set(UNIT_TESTS
  affine api arena codes diag emit fmt interp interp_order jit json map npy parse pool proc search str vec)
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

# Runners of whole programs. Each ends with a line "N passed, N failed".
function(plait_script name)
  add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/${ARGN})
  set_tests_properties(${name} PROPERTIES WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} TIMEOUT 3000)
endfunction()
plait_script(golden golden/run.py --plait $<TARGET_FILE:plait>)
plait_script(cli cli/run.py $<TARGET_FILE:plait>)
plait_script(api api/run.py $<TARGET_FILE:libplait>)
