"""The scenarios that come with the project, and the people and pictures that play in them."""
