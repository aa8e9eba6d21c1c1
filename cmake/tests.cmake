# Unit tests: one program and one ctest test for each tests/unit/test_NAME.c. Script tests: tests/*.
find_package(PkgConfig REQUIRED)
pkg_check_modules(CHECK REQUIRED IMPORTED_TARGET check)
find_package(Python3 REQUIRED COMPONENTS Interpreter)

set(UNIT_TESTS
  affine api arena bind call codes cuda cuda_abi cuda_api cuda_emu cuda_faults cuda_launch diag dtype emit emit_math expr fmt fn gpu_code
  interp interp_bounds interp_format interp_ir interp_order interp_programs jit json kernel map math npy nvrtc ops
  parse passes pool proc region rescale rules search sema std str vec)
set(CUDA_TESTS cuda cuda_api cuda_launch nvrtc)
foreach(name IN LISTS UNIT_TESTS)
  add_executable(test_${name} tests/unit/test_${name}.c)
  target_link_libraries(test_${name} PRIVATE plait_core PkgConfig::CHECK)
  add_test(NAME unit_${name} COMMAND test_${name})
  set_tests_properties(unit_${name} PROPERTIES WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} ENVIRONMENT "CK_DEFAULT_TIMEOUT=900" TIMEOUT 3000)
endforeach()
# The host function of a printed CUDA file, where there is a C++ compiler.
find_program(PLAIT_TEST_CXX NAMES g++ clang++ c++)
if(PLAIT_TEST_CXX)
  add_executable(test_launch_text tests/unit/test_launch_text.c)
  target_compile_definitions(test_launch_text PRIVATE _GNU_SOURCE "CXX_COMPILER=\"${PLAIT_TEST_CXX}\"")
  target_link_libraries(test_launch_text PRIVATE plait_core PkgConfig::CHECK ${CMAKE_DL_LIBS})
  add_test(NAME unit_launch_text COMMAND test_launch_text)
  set_tests_properties(unit_launch_text PROPERTIES WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} ENVIRONMENT "CK_DEFAULT_TIMEOUT=900" TIMEOUT 3000)
endif()
# Look-alikes of the CUDA driver and NVRTC, and the tests that use them.
foreach(name cuda nvrtc)
  add_library(fake_${name} MODULE tests/unit/fake_${name}.c)
  set_target_properties(fake_${name} PROPERTIES PREFIX "")
  target_include_directories(fake_${name} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/tests/unit)
  target_compile_definitions(fake_${name} PRIVATE _GNU_SOURCE)
endforeach()
foreach(name ${CUDA_TESTS})
  add_dependencies(test_${name} fake_cuda fake_nvrtc)
  target_compile_definitions(test_${name} PRIVATE "FAKE_CUDA=\"$<TARGET_FILE:fake_cuda>\"" "FAKE_NVRTC=\"$<TARGET_FILE:fake_nvrtc>\"")
endforeach()
find_path(PLAIT_CUDA_INCLUDE cuda.h HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES include)
if(PLAIT_CUDA_INCLUDE)
  target_include_directories(test_cuda_abi SYSTEM PRIVATE ${PLAIT_CUDA_INCLUDE})
  target_compile_definitions(test_cuda_abi PRIVATE HAVE_CUDA_H)
endif()
find_program(PLAIT_PTXAS ptxas HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
if(PLAIT_PTXAS)
  target_compile_definitions(test_cuda PRIVATE "PTXAS=\"${PLAIT_PTXAS}\"")
endif()
if(EXISTS ${PLAIT_CUDA_INCLUDE}/../lib64/stubs/libcuda.so)
  target_compile_definitions(test_cuda_abi PRIVATE "CUDA_STUB=\"${PLAIT_CUDA_INCLUDE}/../lib64/stubs/libcuda.so\"")
endif()

if(PLAIT_CLANG)
  foreach(name jit search cuda)    # which then insist on it
    target_compile_definitions(test_${name} PRIVATE PLAIT_CLANG)
    add_dependencies(test_${name} plait-clang)
  endforeach()
endif()

# The sweep of the vector mathematics; tools/math/table.py builds and runs it.
add_executable(math-sweep EXCLUDE_FROM_ALL tools/math/sweep.c)
target_link_libraries(math-sweep PRIVATE plait_core)
target_compile_options(math-sweep PRIVATE -O3 -march=native)

include(${PROJECT_SOURCE_DIR}/tests/cuda_emu/build.cmake)

add_test(NAME layers COMMAND ${PROJECT_SOURCE_DIR}/tests/layers.sh ${PROJECT_SOURCE_DIR})

# Runners of whole programs. Each ends with a line "N passed, N failed".
function(plait_script name)
  add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/${ARGN})
  set_tests_properties(${name} PROPERTIES WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} TIMEOUT 3000)
endfunction()
plait_script(golden golden/run.py --plait $<TARGET_FILE:plait>)
plait_script(cli cli/run.py $<TARGET_FILE:plait>)
plait_script(api api/run.py $<TARGET_FILE:libplait>)
plait_script(examples examples/run.py $<TARGET_FILE:plait>)
plait_script(errors errors/run.py --plait $<TARGET_FILE:plait>)
plait_script(docs docs/run.py --plait $<TARGET_FILE:plait>)
plait_script(warnings warnings/run.py $<TARGET_FILE:plait>)
if(NOT PLAIT_SANITIZE)    # which a Python that was not built with it cannot load
  plait_script(bench_check bench/run.py $<TARGET_FILE:libplait>)
  plait_script(bench_gpu_check bench/gpu.py $<TARGET_FILE:libplait> ${EMU_LIBRARIES})
  plait_script(gpu gpu/run.py $<TARGET_FILE:plait>)      # left out without a GPU
  set_tests_properties(bench_check bench_gpu_check gpu PROPERTIES SKIP_RETURN_CODE 77)
  set_tests_properties(gpu PROPERTIES RUN_SERIAL ON)
endif()

# Compiled kernels against the interpreter.
add_executable(plait-diff tests/diff/diff.c tests/diff/generate.c tests/diff/generate_forms.c tests/diff/gpu.c tests/diff/harness.c)
target_link_libraries(plait-diff PRIVATE plait_core)
file(GLOB files CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} tests/language/*.plait examples/*/*.plait)
set(programs)
foreach(file IN LISTS files)
  file(STRINGS ${file} functions REGEX "^fn " LIMIT_COUNT 1)        # a file of formats has nothing to run
  if(functions)
    list(APPEND programs ${file})
  endif()
endforeach()
add_test(NAME diff_fuzz COMMAND plait-diff fuzz --count 140)
add_test(NAME diff_fuzz_specials COMMAND plait-diff fuzz --count 30 --seed 1000000 --specials)
add_test(NAME diff_fuzz_unfused COMMAND plait-diff fuzz --count 30 --seed 2000000 --unfused)
add_test(NAME diff_ops COMMAND plait-diff ops)
add_test(NAME diff_files COMMAND plait-diff files ${programs} --count 3)
# What only long rows reach, on a machine whose caches hold next to nothing.
file(GLOB shapes CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} tests/diff/programs/*.plait)
add_test(NAME diff_shapes COMMAND plait-diff files ${shapes} ${programs} --machine tiny --count 6)
add_test(NAME diff_shapes_specials COMMAND plait-diff files ${shapes} --machine tiny --specials --count 12)
add_test(NAME diff_long_prefixes COMMAND plait-diff files tests/diff/programs/long_prefixes.plait tests/diff/programs/backward.plait --machine tiny --limit 2500 --count 4)
add_test(NAME diff_fuzz_tiny COMMAND plait-diff fuzz --machine tiny --count 30 --seed 3000000)
# What only tensors in memory reach, on a machine where all are.
add_test(NAME diff_far COMMAND plait-diff files ${shapes} ${programs} --machine far --count 3)
add_test(NAME diff_fuzz_far COMMAND plait-diff fuzz --machine far --count 30 --seed 5000000)
foreach(name diff_fuzz diff_fuzz_specials diff_fuzz_unfused diff_ops diff_files diff_shapes diff_shapes_specials diff_long_prefixes diff_fuzz_tiny diff_far diff_fuzz_far)
  set_tests_properties(${name} PROPERTIES WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} TIMEOUT 3000)
endforeach()

# The same programs as CUDA C in the emulator, which reports races, barriers that not all threads reach and reads of what
# nobody wrote; and through NVRTC, where it is.
file(GLOB golden CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} tests/golden/*/*.plait)
set(examples ${programs})
list(FILTER examples INCLUDE REGEX "^examples/")
function(emu_diff name)
  add_test(NAME emu_${name} COMMAND plait-diff ${ARGN} --target cuda)
  set_tests_properties(emu_${name} PROPERTIES WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} TIMEOUT 3000
    ENVIRONMENT "PLAIT_CUDA_DRIVER=$<TARGET_FILE:cuda_emu_driver>;PLAIT_NVRTC=$<TARGET_FILE:cuda_emu_nvrtc>")
endfunction()
add_dependencies(plait-diff cuda_emu_driver cuda_emu_nvrtc)
emu_diff(examples files ${examples} --count 3)
emu_diff(golden files ${golden} --count 3)
emu_diff(shapes files ${shapes} --count 6 --limit 1500)
emu_diff(few_rows files tests/diff/programs/prefixes.plait --count 3 --limit 5000 --seed 4)       # of a length for several blocks a row
emu_diff(in_shared files tests/diff/programs/in_shared.plait --count 3)       # where there are no clusters
set_property(TEST emu_in_shared APPEND PROPERTY ENVIRONMENT PLAIT_EMU_ARCH=80)
emu_diff(fuzz fuzz --count 100)
plait_script(fold_ptx cuda_emu/fold_ptx.py $<TARGET_FILE:plait>)
plait_script(nvrtc_budgets cuda_emu/budgets.py $<TARGET_FILE:plait> $<TARGET_FILE:cuda_emu_nvrtc_check>)
set_tests_properties(nvrtc_budgets PROPERTIES SKIP_REGULAR_EXPRESSION "left out: there is no NVRTC")
if(PLAIT_CLANG)
  plait_script(clang_ptx cuda_emu/clang.py $<TARGET_FILE:plait>)
endif()
plait_script(nvcc cuda_emu/nvcc.py $<TARGET_FILE:plait> nvcc)
set_tests_properties(nvcc PROPERTIES SKIP_REGULAR_EXPRESSION "left out: there is no nvcc")
