"""Revisions, oldest first: one a file, in one line without branches."""
