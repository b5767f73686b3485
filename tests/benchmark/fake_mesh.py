"""A small mesh over stdio as somebody else may have written it: keeps inboxes in one file, and knows nothing of locks.

Its arguments are faults: `dies` ends it at the first send, `deaf` has it answer no send, `refuses` has it refuse sends.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any, Final

TOOLS: Final = ("ping", "spawn_fleet", "send_message", "get_inbox", "get_health")
FILE: Final = Path(os.environ["AGENT_MESH_DATA_FILE"]).with_name("fake.json")


def main(faults: list[str]) -> None:
    inboxes: dict[str, list[dict[str, Any]]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request:
            continue
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": answered(request, inboxes, faults)}
        if answer["result"] is not None:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def answered(request: dict[str, Any], inboxes: dict[str, list[dict[str, Any]]], faults: list[str]) -> Any:
    match request["method"], request["params"]:
        case "initialize", _:
            return {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "fake", "version": "1"}}
        case "tools/list", _:
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
        case "tools/call", {"name": "send_message"} if "dies" in faults:
            sys.exit(3)
        case "tools/call", {"name": "send_message"} if "deaf" in faults:
            return None
        case "tools/call", {"name": "send_message"} if "refuses" in faults:
            return {"isError": True, "content": [{"type": "text", "text": '{"error":"not today"}'}]}
        case "tools/call", {"name": name, "arguments": arguments}:
            return {"content": [{"type": "text", "text": json.dumps(said(name, arguments, inboxes))}]}
    return {}


def said(name: str, arguments: dict[str, Any], inboxes: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    match name:
        case "spawn_fleet":
            return {"fleet_id": "fleet", "agent_ids": [f"agent {place}" for place in range(len(arguments["agents"]))]}
        case "send_message":
            message_id = str(uuid.uuid4())
            inboxes.setdefault(arguments["to_agent_id"], []).append({"id": message_id})
            # whoever else wrote meanwhile is overwritten
            FILE.write_text(json.dumps(inboxes))
            return {"message_id": message_id}
        case "get_inbox":
            return {"messages": inboxes.get(arguments["agent_id"], [])}
        case "get_health":
            return {"messages": sum(map(len, inboxes.values()))}
    return {"status": "ok"}


if __name__ == "__main__":
    main(sys.argv[1:])
