"""Room movers: file trees, PostgreSQL clusters and block volumes, from host to host, and their digests."""
