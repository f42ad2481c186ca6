"""What people do who look after the platform."""
