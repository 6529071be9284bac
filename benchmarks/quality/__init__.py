"""Quality: tasks as declarative files, judged by our protocol and by those of HEAR, ARCH and MAEB."""
