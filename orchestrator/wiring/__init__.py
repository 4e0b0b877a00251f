"""Floor 4: the only room that names concrete drivers."""
