"""Floor 2: Protocols with their laws. `tests/laws/` holds every implementation, and every fake, to them."""
