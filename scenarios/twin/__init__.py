"""The twin: what live parties were measured to take, and what a network that no machine can run would do with it."""
