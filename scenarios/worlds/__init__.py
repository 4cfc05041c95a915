"""The two worlds that a scenario plays in: live services, and virtual time."""
