"""The world on one machine: stand-ins for Pub/Sub, Segment and commercetools, and a shop that lives on them."""
