"""The text-conditioned reconstruction network CardioMM."""
