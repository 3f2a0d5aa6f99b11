"""Google Pub/Sub: the push envelope, who may push, and the dead-letter topic."""
