"""Logged records to features, by columns: every value of docs/features.md, in numpy."""
