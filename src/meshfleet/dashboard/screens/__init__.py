"""The dashboard's screens, one a file; what they show comes from the collector, what they do goes to acting.py."""
