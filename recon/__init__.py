"""From k-space to images, and how good they are."""
