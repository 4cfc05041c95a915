"""Scenarios and everything that stands on top of the parties: the worlds they run in, reports, the command line."""
