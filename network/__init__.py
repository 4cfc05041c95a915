"""The ground floor of the network: messages, chip data, keys, books, stores and the two runtimes.

It knows no party; every party stands on it.
"""
