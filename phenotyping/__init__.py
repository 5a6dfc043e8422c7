"""From images to numbers."""
