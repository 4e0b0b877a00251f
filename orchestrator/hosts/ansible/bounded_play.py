"""`ansible-playbook` that knows our shell plugin (`shell_plugins/bounded.py`); the program of a play's process."""

from pathlib import Path

from ansible.cli.playbook import main
from ansible.plugins.loader import shell_loader

if __name__ == "__main__":
    shell_loader.add_directory(str(Path(__file__).with_name("shell_plugins")))
    main()
