"""Where systems go: the cloud's machines, the clients' name, its object stores."""
