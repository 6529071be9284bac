"""Where the bytes of a clip lie: a file of its own, or a member of a container (tar, Parquet)."""
