# The emulator of GPU kernels and its stand-ins for the CUDA libraries. Included by cmake/tests.cmake.
set(EMU ${PROJECT_SOURCE_DIR}/tests/cuda_emu)
set(EMU_SOURCES
  ${EMU}/atomic.c ${EMU}/bulk.c ${EMU}/check.c ${EMU}/cluster.c ${EMU}/compile.c ${EMU}/fiber.c ${EMU}/launch.c ${EMU}/meet.c
  ${EMU}/memory.c ${EMU}/module.c ${EMU}/rewrite.c ${EMU}/run.c)
set_source_files_properties(${EMU}/compile.c PROPERTIES OBJECT_DEPENDS "${EMU}/abi.h;${EMU}/prelude.h")

add_library(cuda_emu STATIC ${EMU_SOURCES})
target_include_directories(cuda_emu PUBLIC ${EMU})
target_compile_definitions(cuda_emu PRIVATE EMU_SOURCE="${EMU}")
target_link_libraries(cuda_emu PUBLIC plait_core)

# What compiles kernels when the tests run: gcc where there is one, see compile.c.
find_program(EMU_CC NAMES gcc cc clang REQUIRED)
foreach(name cuda_emu cuda_faults)
  target_link_libraries(test_${name} PRIVATE cuda_emu)
  target_compile_definitions(test_${name} PRIVATE EMU_CC="${EMU_CC}")
endforeach()

# Stand-ins for NVIDIA's libraries: with LD_LIBRARY_PATH=build/cuda_emu whatever opens them runs without a GPU.
set(EMU_LIBRARIES ${PROJECT_BINARY_DIR}/cuda_emu)
function(emu_library target name version)
  add_library(${target} SHARED ${ARGN} ${EMU}/settings.c ${EMU}/ptx.c)
  target_compile_definitions(${target} PRIVATE EMU_CC="${EMU_CC}")
  target_link_libraries(${target} PRIVATE cuda_emu)
  target_link_options(${target} PRIVATE LINKER:--exclude-libs,ALL)
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name} SOVERSION ${version} LIBRARY_OUTPUT_DIRECTORY ${EMU_LIBRARIES})
endfunction()
emu_library(cuda_emu_driver cuda 1 ${EMU}/driver.c ${EMU}/driver_launch.c ${EMU}/driver_memory.c ${EMU}/driver_stream.c)
emu_library(cuda_emu_nvrtc nvrtc 13 ${EMU}/nvrtc.c)

# Tests of the stand-ins. With NVIDIA's headers, where they are, their prototypes are what is called.
function(emu_test name)
  add_executable(${name} ${ARGN})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR} ${EMU})
  target_compile_definitions(${name} PRIVATE _GNU_SOURCE EMU_LIBRARIES="${EMU_LIBRARIES}")
  target_link_libraries(${name} PRIVATE PkgConfig::CHECK ${CMAKE_DL_LIBS})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} ENVIRONMENT "CK_DEFAULT_TIMEOUT=900" TIMEOUT 3000)
endfunction()
emu_test(cuda_emu_libraries ${EMU}/test_driver.c)
add_dependencies(cuda_emu_libraries cuda_emu_driver cuda_emu_nvrtc)
find_path(EMU_CUDA_HEADERS cuda.h HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES include)
if(EMU_CUDA_HEADERS AND EXISTS ${EMU_CUDA_HEADERS}/nvrtc.h)
  target_include_directories(cuda_emu_libraries SYSTEM PRIVATE ${EMU_CUDA_HEADERS})
  target_compile_definitions(cuda_emu_libraries PRIVATE EMU_CUDA_HEADERS)
endif()

# The library's runtime over them.
emu_test(cuda_emu_stack ${EMU}/test_stack.c)
target_link_libraries(cuda_emu_stack PRIVATE plait_core)
add_dependencies(cuda_emu_stack cuda_emu_driver cuda_emu_nvrtc)

# Kernels through NVIDIA's own compiler, where it is: registers, spills and shared memory.
add_executable(cuda_emu_nvrtc_check ${EMU}/nvrtc_check.c ${PROJECT_SOURCE_DIR}/runtime/gpu_code.c)
target_include_directories(cuda_emu_nvrtc_check PRIVATE ${PROJECT_SOURCE_DIR})
target_compile_definitions(cuda_emu_nvrtc_check PRIVATE _GNU_SOURCE)
target_link_libraries(cuda_emu_nvrtc_check PRIVATE ${CMAKE_DL_LIBS})
file(GLOB EMU_KERNELS CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} ${EMU}/kernels/*.cu)
function(emu_nvrtc name)
  add_test(NAME ${name} COMMAND cuda_emu_nvrtc_check ${ARGN})
  set_tests_properties(${name} PROPERTIES WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} TIMEOUT 3000 SKIP_REGULAR_EXPRESSION "left out: there is no NVRTC")
endfunction()
emu_nvrtc(cuda_emu_nvrtc ${EMU_KERNELS})
emu_nvrtc(cuda_emu_nvrtc_finds_spills --expect spill tests/cuda_emu/broken/spills.cu)
emu_nvrtc(cuda_emu_nvrtc_finds_registers --expect registers --registers 9 --spill 5000 tests/cuda_emu/broken/spills.cu)
emu_nvrtc(cuda_emu_nvrtc_finds_shared_memory --expect shared --shared 4000 tests/cuda_emu/broken/shared.cu)

# Both ways of switching threads.
emu_test(cuda_emu_fiber ${EMU}/test_fiber.c ${EMU}/fiber.c)
emu_test(cuda_emu_fiber_ucontext ${EMU}/test_fiber.c ${EMU}/fiber.c)
target_compile_definitions(cuda_emu_fiber_ucontext PRIVATE FIBER_UCONTEXT)

# Kernels as C files in a program that the address sanitizer watches.
include(CheckCSourceCompiles)
set(CMAKE_REQUIRED_FLAGS -fsanitize=address)
check_c_source_compiles("int main(void) { return 0; }" EMU_HAS_ASAN)
unset(CMAKE_REQUIRED_FLAGS)
if(EMU_HAS_ASAN)
  add_executable(cuda_emu_rewrite ${EMU}/rewrite_main.c)
  target_link_libraries(cuda_emu_rewrite PRIVATE cuda_emu)
  set(emu_texts)
  foreach(text kernels/softmax kernels/column kernels/cluster broken/asan)
    get_filename_component(name ${text} NAME)
    add_custom_command(OUTPUT ${EMU_LIBRARIES}/${name}.c DEPENDS cuda_emu_rewrite ${EMU}/${text}.cu VERBATIM
      COMMAND cuda_emu_rewrite ${EMU}/${text}.cu emu_image_${name} > ${EMU_LIBRARIES}/${name}.c)
    list(APPEND emu_texts ${EMU_LIBRARIES}/${name}.c)
  endforeach()
  add_library(cuda_emu_asan_texts OBJECT ${emu_texts})
  set_target_properties(cuda_emu_asan_texts PROPERTIES C_EXTENSIONS ON)
  target_compile_options(cuda_emu_asan_texts PRIVATE -w -fgnu89-inline -fno-strict-aliasing -fno-sanitize=undefined -fsanitize=address)
  emu_test(cuda_emu_asan ${EMU}/test_asan.c ${EMU_SOURCES} $<TARGET_OBJECTS:cuda_emu_asan_texts>)
  target_compile_definitions(cuda_emu_asan PRIVATE EMU_SOURCE="${EMU}")
  target_compile_options(cuda_emu_asan PRIVATE -fsanitize=address)
  target_link_options(cuda_emu_asan PRIVATE -fsanitize=address)
  target_link_libraries(cuda_emu_asan PRIVATE plait_core)
endif()

# Programs' kernels: run by the emulator against the interpreter, and through NVIDIA's compiler.
function(emu_diff name)
  add_test(NAME diff_gpu_${name} COMMAND plait-diff files --target cuda ${ARGN})
  set_tests_properties(diff_gpu_${name} PROPERTIES WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} TIMEOUT 3000
    ENVIRONMENT "PLAIT_CUDA_DRIVER=${EMU_LIBRARIES}/libcuda.so.1;PLAIT_NVRTC=${EMU_LIBRARIES}/libnvrtc.so.13")
endfunction()
emu_diff(columns --count 6 --limit 5000 tests/diff/programs/column_teams.plait tests/diff/programs/columns.plait tests/diff/programs/batch_norm.plait tests/diff/programs/mixed.plait)
emu_diff(whole --count 6 --limit 40000 tests/diff/programs/whole_tensors.plait tests/diff/programs/whole.plait tests/diff/programs/argmax.plait)
emu_diff(turned --count 6 --limit 300 tests/diff/programs/turned_tiles.plait tests/diff/programs/turned.plait)
emu_diff(prefixes --count 4 --limit 5000 tests/diff/programs/prefixes.plait tests/diff/programs/prefix.plait)
add_test(NAME cuda_emu_texts COMMAND sh -c "sh tests/cuda_emu/texts.sh '$<TARGET_FILE:plait>' '$<TARGET_FILE:cuda_emu_nvrtc_check>' '${PROJECT_BINARY_DIR}/texts' < tests/cuda_emu/texts.list")
set_tests_properties(cuda_emu_texts PROPERTIES WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} TIMEOUT 3000 SKIP_REGULAR_EXPRESSION "left out: there is no NVRTC")
