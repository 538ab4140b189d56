"""Layers as file systems: prepare, view, commit, apply, diff."""
