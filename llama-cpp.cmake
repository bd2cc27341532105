# Read by the build of llama-cpp-python, right after llama.cpp's own project().

# Its common library belongs to the command line tools and takes half of the build, but the Python package
# switches it on by force.
set(LLAMA_BUILD_COMMON OFF)

# Quantization is in ggml-base, which GGML_NATIVE leaves without the vector instructions of this processor.
# Without contraction each operation rounds as before, so the files are the same to the last byte.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND CMAKE_C_COMPILER_ID MATCHES "GNU|Clang"
   AND (GGML_NATIVE OR NOT DEFINED GGML_NATIVE))
  cmake_language(DEFER CALL target_compile_options ggml-base PRIVATE
                 -march=native -ffp-contract=off -fno-math-errno -fno-trapping-math)
endif()

# GCC before 12.4 and 13.3 forgets to write most of the tiles' configuration (PR 114098): the first product of a
# quantized model would end the process on processors with AMX.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND CMAKE_C_COMPILER_ID STREQUAL "GNU"
   AND (GGML_NATIVE OR NOT DEFINED GGML_NATIVE)
   AND (CMAKE_C_COMPILER_VERSION VERSION_LESS 12.4 OR (CMAKE_C_COMPILER_VERSION VERSION_GREATER_EQUAL 13
        AND CMAKE_C_COMPILER_VERSION VERSION_LESS 13.3)))
  cmake_language(DEFER CALL target_compile_options ggml-cpu PRIVATE -mno-amx-tile -mno-amx-int8 -mno-amx-bf16)
endif()
