"""commercetools-segment: keeps a shop's commercetools customers in Segment."""
