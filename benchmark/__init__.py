"""What meshfleet costs, beside the floor of what the machine allows, in one run."""
