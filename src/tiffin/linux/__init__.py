"""Checked system calls. Raises only OSError; imports nothing of the layers above."""
