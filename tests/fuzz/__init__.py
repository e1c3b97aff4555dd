"""Parsers against anything at all. Each module has `PARSERS`: by name, a strategy and what parses the values it gives.

A parser may raise a LaunchError and nothing else.
"""
