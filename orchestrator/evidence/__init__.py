"""Floor 3: what happened, so that an auditor can verify it offline without trusting us."""
