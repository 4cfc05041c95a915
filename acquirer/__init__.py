"""The acquirer: merchants and terminals, their sessions, the mapping to the member link, store and forward, books."""
