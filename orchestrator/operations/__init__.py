"""Floor 5: one file per thing an operator does."""
