"""Fuzzes all parsers. Each module has `PARSERS`: by name, a strategy and the function that parses its values.

A parser may raise a LaunchError and nothing else.
"""
