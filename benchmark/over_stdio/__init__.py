"""What any MCP server with these tools costs, seen from its client; two of them are measured in turn."""
