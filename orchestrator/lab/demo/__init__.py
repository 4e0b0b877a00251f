"""The demo systems: filing, archive, and the clients that keep using both."""
