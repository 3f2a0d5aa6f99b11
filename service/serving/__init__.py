"""What runs the service, and every place where a library is bent to it: docs/libraries.md."""
