"""From statements to pages."""
