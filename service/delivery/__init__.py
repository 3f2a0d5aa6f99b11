"""How an event is told once, whole and in order."""
