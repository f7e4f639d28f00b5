"""See meaning form and fade while a language model trains."""

from lightning_semgeom._version import __version__

__all__ = ["__version__"]
