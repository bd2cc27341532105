"""GGUF files of a model in many types, by llama.cpp (https://github.com/ggml-org/llama.cpp)."""
