"""Digests of file trees: the program that hosts run, and what starts it."""
