"""Who was scanned, and what is stored."""
