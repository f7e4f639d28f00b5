"""Who shares what: which row of a site has which value of which attribute."""

from lightning_semgeom.attributes.table import AttributeTable

__all__ = ["AttributeTable"]
