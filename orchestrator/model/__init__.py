"""Floor 1: the nouns, frozen. They know nothing of files, hosts or time."""
