"""Floor 7: a person or a script speaks here."""
