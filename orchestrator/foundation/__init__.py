"""Floor 0: errors, clock, whole files, canonical JSON, limits. Imports nothing of ours."""
