"""What `meshfleet doctor` looks at: OpenCode and its configuration, the ledger, the machine."""
