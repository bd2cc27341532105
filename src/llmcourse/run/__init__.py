"""`llmcourse run`: several commands on each other's results, from one file."""
