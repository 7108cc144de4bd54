"""Raises an exception that cannot be shown."""


class Unspeakable(Exception):
    def __str__(self):
        raise ZeroDivisionError


raise Unspeakable
