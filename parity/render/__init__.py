"""The report as text, JSON and HTML."""
