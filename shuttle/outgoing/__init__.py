"""Outgoing connections: which addresses are allowed, how URLs and their credentials are read, which CAs are trusted."""
