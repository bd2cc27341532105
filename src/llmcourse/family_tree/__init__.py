"""`llmcourse family-tree`: where a model comes from, and what came of it."""
