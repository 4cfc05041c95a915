"""The switch: members and routing, PIN and MAC zones, store and forward, its books."""
