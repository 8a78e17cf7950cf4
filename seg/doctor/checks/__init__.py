"""Checks of a set-up about to be trained, one concept a file: each takes a `Setup` and yields findings."""
