"""The words of face.py, as the SDK says them: `python -m meshfleet.server.prepare`; a test tells when they are old."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mcp_types import Implementation, InitializeResult
from mcp_types.methods import serialize_server_result

from meshfleet import __version__
from meshfleet.ledger import Ledger
from meshfleet.mesh.identity import Caller
from meshfleet.server.app import build_server
from meshfleet.server.face import SERVER_NAME, VERSIONS, prepared_file
from meshfleet.server.tool import Context
from meshfleet.server.tools import offered_tools


def prepared(*, in_agent_mode: bool) -> str:
    """What the server of the orchestrator or of an agent says of itself, as JSON."""
    caller = Caller("whoever" if in_agent_mode else None)
    server = build_server(Context(Ledger(Path(os.devnull)), caller, None, {}, Path()), "")
    capabilities = server.create_initialization_options().capabilities
    greeting = InitializeResult(
        protocol_version=VERSIONS[-1],
        capabilities=capabilities,
        server_info=Implementation(name=SERVER_NAME, version=__version__),
    )
    told = serialize_server_result("initialize", VERSIONS[-1], greeting.model_dump(by_alias=True, exclude_none=True))
    tools = [tool.on_the_wire() for tool in offered_tools(in_agent_mode=in_agent_mode).values()]
    lines = ",\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    return f'{{"capabilities": {json.dumps(told["capabilities"])}, "tools": [\n{lines}\n]}}\n'


def main() -> None:
    """Write down what both say."""
    for in_agent_mode in (False, True):
        prepared_file(in_agent_mode=in_agent_mode).write_text(prepared(in_agent_mode=in_agent_mode), encoding="utf-8")


if __name__ == "__main__":
    main()
