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
