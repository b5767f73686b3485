"""What the rules and the ledger cost without a protocol, beside the floor of what the machine allows."""
