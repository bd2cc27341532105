"""A command of one small file a piece, for tests of what the spine does around every command."""
