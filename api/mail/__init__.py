"""Mail to the people who have accounts."""
