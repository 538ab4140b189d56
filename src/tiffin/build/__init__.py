"""Dockerfiles and the solver that runs them."""
