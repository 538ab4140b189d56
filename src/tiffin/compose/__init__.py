"""Compose files: load, observe, plan, apply."""
