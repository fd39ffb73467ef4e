"""Talks to PACS nodes: store, find, get, move, storage commitment; the only room with a network."""
