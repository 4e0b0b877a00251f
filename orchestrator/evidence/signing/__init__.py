"""The only room of evidence that knows the cryptography vendors."""
