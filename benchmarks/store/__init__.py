"""Scale of the store."""
