"""The Dockerfile language: bytes to stages of instructions, words, checks; nothing here touches a file system."""
