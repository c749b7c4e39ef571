"""Loops over devices that numba compiles."""
