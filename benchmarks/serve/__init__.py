"""The service under load, and under fire."""
