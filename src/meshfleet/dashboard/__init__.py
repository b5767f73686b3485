"""The dashboard: a terminal program to look at fleets and to act on them; the rules are those of the floors below."""
