"""Reading copies: what people and tools read, made from the evidence alone, the same bytes every time."""
