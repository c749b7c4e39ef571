"""Loops over devices, compiled by numba."""
