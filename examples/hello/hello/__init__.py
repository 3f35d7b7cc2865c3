"""Greets people in their own language."""
