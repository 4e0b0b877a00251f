"""Copies in a vault, by restic on the host that holds the recovery point."""
