"""Room snapshots: points of file trees, held on the host that has the tree."""
