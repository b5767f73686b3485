"""The MCP face: tools, instructions and the stdio streams around the SDK's server."""
