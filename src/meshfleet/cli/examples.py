"""The examples at the end of each command's help: what to type, and what it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Example = tuple[str, str]

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = {
    "": (
        ("meshfleet demo", "see a fleet work, without a key"),
        ("meshfleet init", "have OpenCode start the server"),
        ("meshfleet dashboard", "watch your fleets"),
        ("meshfleet COMMAND --help", "what a command takes"),
    ),
    "serve": (('"command": ["meshfleet", "serve"]', "in opencode.json; meshfleet init does it"),),
    "demo": (
        ("meshfleet demo", "with a scripted model"),
        ("meshfleet demo --live --keep", "with your own; keeps the folder"),
    ),
    "init": (
        ("meshfleet init", "for all your projects"),
        ("meshfleet init --project", "for this one"),
        ("meshfleet init --client codex", "for Codex instead of OpenCode"),
        ("meshfleet init --remove", "take it out again"),
    ),
    "doctor": (
        ("meshfleet doctor", "a line for each thing looked at"),
        ("meshfleet doctor --json", "for a script"),
    ),
    "spawn": (
        ("meshfleet spawn team.json --wait", "see what comes of it"),
        ("meshfleet spawn bug-bash --max-cost 2", "a template, for 2 dollars at most"),
        ("meshfleet spawn - --wait --json < team.json", "in a script"),
    ),
    "inspect": (
        ("meshfleet inspect", "every fleet"),
        ("meshfleet inspect 3f2a", "a fleet, an agent or a message"),
        ("meshfleet inspect --timeline 3f2a", "what has happened in a fleet"),
        ("meshfleet inspect --events 50 -f", "the last 50 events, and those to come"),
    ),
    "dashboard": (
        ("meshfleet dashboard", "? tells the keys, q leaves"),
        ("meshfleet dashboard --read-only", "nothing can be cancelled by mistake"),
        ("meshfleet dashboard --once | less", "the same as text"),
    ),
    "wait": (
        ("meshfleet wait 3f2a", "until all its agents have ended"),
        ("meshfleet wait 3f2a --any --timeout 60", "until the next has, for a minute"),
    ),
    "logs": (
        ("meshfleet logs 9c1e", "all since it was resumed or woken"),
        ("meshfleet logs 9c1e -f", "and what comes, until it has ended"),
        ("meshfleet logs 9c1e --attempt 1", "of its first attempt"),
    ),
    "cancel": (
        ("meshfleet cancel 3f2a", "a fleet with all its agents"),
        ("meshfleet cancel 9c1e", "one agent"),
    ),
    "resume": (
        ("meshfleet resume 3f2a", "all of a fleet that failed"),
        ('meshfleet resume 9c1e --prompt "Try npm ci"', "one agent, with a hint"),
        ("meshfleet resume 9c1e --fresh", "without what it said before"),
    ),
    "template": (
        ("meshfleet template save bug-bash team.json", "keep a fleet"),
        ("meshfleet spawn bug-bash --wait", "start it"),
    ),
    "template list": (("meshfleet template list", "every version, with what it is for"),),
    "template show": (("meshfleet template show bug-bash --version 2", "its second version"),),
    "template save": (
        ("meshfleet template save bug-bash team.json", "a new version"),
        ("meshfleet template save bug-bash - < team.json", "from standard input"),
    ),
    "template delete": (
        ("meshfleet template delete bug-bash --version 1", "one version"),
        ("meshfleet template delete bug-bash", "all of them"),
    ),
    "template export": (("meshfleet template export bug-bash team.json", "to hand on"),),
    "template import": (
        ("meshfleet template import team.json", "under the name it has"),
        ("meshfleet template import team.json --rename hunt", "under another"),
    ),
    "template spawn": (("meshfleet template spawn bug-bash", "a fleet in this folder"),),
    "verify": (
        ("meshfleet verify", "your ledger"),
        ("meshfleet verify backup.json --json", "another, for a script"),
    ),
    "repair": (
        ("meshfleet repair", "shows what it will do, and asks"),
        ("meshfleet repair backup.json --yes", "another, without asking"),
    ),
    "export": (
        ("meshfleet export backup.json", "to a file"),
        ("meshfleet export | gzip > backup.json.gz", "to standard output"),
    ),
    "import": (("MESHFLEET_DATA_FILE=new.json meshfleet import backup.json", "into a ledger that is new"),),
    "completion": (
        ("source <(meshfleet completion bash)", "in ~/.bashrc"),
        ("source <(meshfleet completion zsh)", "in ~/.zshrc"),
        ("meshfleet completion fish | source", "in ~/.config/fish/config.fish"),
    ),
}
