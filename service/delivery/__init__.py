"""Delivering each resource's events to Segment once, completely and in order."""
