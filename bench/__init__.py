"""Measures what the README claims: ``make bench``, or ``python -m bench NAME...`` for some of it."""
