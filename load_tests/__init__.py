"""Journeys of people who use Voxify, for locust."""
