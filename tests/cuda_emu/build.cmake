# The emulator of GPU kernels and its stand-ins for the CUDA libraries. Included by cmake/tests.cmake.
set(EMU ${PROJECT_SOURCE_DIR}/tests/cuda_emu)
set(EMU_SOURCES
  ${EMU}/atomic.c ${EMU}/check.c ${EMU}/cluster.c ${EMU}/compile.c ${EMU}/fiber.c ${EMU}/launch.c ${EMU}/meet.c
  ${EMU}/memory.c ${EMU}/module.c ${EMU}/rewrite.c ${EMU}/run.c)
set_source_files_properties(${EMU}/compile.c PROPERTIES OBJECT_DEPENDS "${EMU}/abi.h;${EMU}/prelude.h")

add_library(cuda_emu STATIC ${EMU_SOURCES})
target_include_directories(cuda_emu PUBLIC ${EMU})
target_compile_definitions(cuda_emu PRIVATE EMU_SOURCE="${EMU}")
target_link_libraries(cuda_emu PUBLIC plait_core)

# What compiles kernels when the tests run: gcc where there is one, see compile.c.
find_program(EMU_CC NAMES gcc cc clang REQUIRED)
target_link_libraries(test_cuda_emu PRIVATE cuda_emu)
target_compile_definitions(test_cuda_emu PRIVATE EMU_CC="${EMU_CC}")
