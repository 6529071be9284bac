"""Tables and one self-contained HTML page from a comparison."""
