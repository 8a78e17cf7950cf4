"""Annotation formats to indexed masks and back; nothing here imports torch or Lightning."""
