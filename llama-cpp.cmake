# Read by the build of llama-cpp-python, right after llama.cpp's own project(): its common library belongs to
# the command line tools and takes half of the build, but the Python package switches it on by force.
set(LLAMA_BUILD_COMMON OFF)
