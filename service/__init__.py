"""commercetools-segment: keeps a shop's commercetools customers in Segment."""

__version__ = "0.1.0"
