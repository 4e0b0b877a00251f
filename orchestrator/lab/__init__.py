"""Floor 6: a whole source, DR site and cloud on this machine, in namespaces or on loopback addresses."""
