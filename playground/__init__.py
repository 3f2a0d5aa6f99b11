"""Stand-ins for Pub/Sub, Segment and commercetools on one machine, with a shop, a demo and an oracle."""
