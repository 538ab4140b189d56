"""Stands in for paramiko: docker-py's test support imports it at the top, and only its ssh tests use it."""


class Channel:
    """The type that docker-py's test support asks after."""
