"""The rules of the mesh: fleets, agents' lives, messages and receipts, each written once over ledger transactions."""
