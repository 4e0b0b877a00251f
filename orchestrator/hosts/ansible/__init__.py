"""Playbooks by ansible-runner, in a process of its own that leaves nothing behind."""
