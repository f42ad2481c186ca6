"""`voxify doctor`: looks at all that Voxify needs and says what to do about what is wrong."""
