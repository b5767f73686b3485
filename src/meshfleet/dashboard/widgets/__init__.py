"""Pieces of the dashboard's screens; none of them knows of the ledger."""
