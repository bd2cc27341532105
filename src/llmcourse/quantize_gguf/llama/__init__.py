"""Everything that calls llama.cpp, as modules that run in a child process: it aborts on some bad input."""
