"""The questions that the project grew from, answered from measurements."""
