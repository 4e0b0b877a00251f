"""PostgreSQL clusters by their own means: base backup, streaming, clean switch, digests."""
