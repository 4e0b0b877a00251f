"""The wish: the estate as people wrote it, read from a folder, checked, every problem with file and line."""
