"""Turns a pending job into audio: claim, lease, run, finish."""
