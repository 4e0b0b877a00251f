"""Floor 3: reaching hosts. OpenSSH for control, certificates for one transfer each, Ansible for playbooks."""
