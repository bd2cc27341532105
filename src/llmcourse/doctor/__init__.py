"""`llmcourse doctor`: what this machine can run, why not the rest, and the one command that mends it."""
