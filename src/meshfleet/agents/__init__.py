"""Agents as processes of the operating system: starting, watching, judging and stopping them."""
