"""A Wireshark dissector of the links, with this project's own tables of elements, tags and codes."""

from scenarios.dissector.tables import dissector

__all__ = ["dissector"]
