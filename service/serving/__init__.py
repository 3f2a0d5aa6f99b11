"""What runs the service, and every use of a library beyond its public interface: docs/libraries.md."""
