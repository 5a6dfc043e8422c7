"""Synthetic patients whose truth is known in closed form."""
