"""What Google Pub/Sub wraps around a message, and who may push one."""
