"""The demo network: its members, cards and keys, its databases and files, and its services as processes."""
