"""The parts from outside that the tests of the image use."""

from parts import registry

__all__ = ["registry"]
