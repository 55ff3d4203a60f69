"""How values are coded: the seam, and behind it one room for each field."""
