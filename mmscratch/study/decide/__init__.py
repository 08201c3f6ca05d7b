"""Pre-train, or train from scratch, on one's own data: measured in a budget of hours."""
