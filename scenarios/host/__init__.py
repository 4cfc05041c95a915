"""Test hosts: parties that answer by rules or pay by a script, for whoever brings one component of his own."""
