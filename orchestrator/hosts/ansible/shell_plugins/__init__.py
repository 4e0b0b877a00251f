"""Plugins that Ansible loads by the names of their files."""
