"""From a Hugging Face folder to one GGUF file, by llama.cpp's own converter."""
