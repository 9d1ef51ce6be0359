"""The geometric renderer."""
