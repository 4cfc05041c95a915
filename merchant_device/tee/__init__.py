"""The trusted side of a phone as a process of its own: reader, PIN pad, screen, keys, and a narrow command channel."""
