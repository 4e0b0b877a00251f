"""Copies of file trees by rsync, host to host."""
