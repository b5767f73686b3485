"""Real processes on one ledger, for tests of what several of them do to each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

WRITER: Final = """
import sys
from pathlib import Path
from meshfleet.ledger import Ledger
from meshfleet.settings import Durability

ledger = Ledger(Path(sys.argv[1]), durability=Durability(sys.argv[4]), lock_timeout_ms=60_000)
for number in range(int(sys.argv[3])):
    message_id = f"{sys.argv[2]}-{number}"
    row = {"id": message_id, "from_agent_id": sys.argv[2], "to_agent_id": "b", "fleet_id": "f", "type": "result",
           "payload": "x" * 50, "timestamp": number, "acknowledged": False}
    def rule(transaction):
        transaction.put("messages", message_id, row)
        transaction.deliver("b", message_id)
    ledger.transact(rule)
    print(message_id, flush=True)
    if number % 50 == 49:
        ledger.compact()
print("closing", flush=True)
ledger.close()
"""


def start_writer(ledger_file: Path, name: str, count: int, durability: str = "process") -> subprocess.Popen[str]:
    """Start a process that sends messages, printing the id of each once it is acknowledged."""
    command = [sys.executable, "-c", WRITER, str(ledger_file), name, str(count), durability]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
