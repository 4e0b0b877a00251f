"""What the real services enforce and moto does not, one module per service."""
