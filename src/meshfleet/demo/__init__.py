"""`meshfleet demo`: three real OpenCode agents hand work on, with a scripted model in place of a paid one."""
