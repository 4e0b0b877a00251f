"""Floor 3: what hosts really are, asked from the hosts themselves, and what their own records say of visitors."""
