"""What the mesh holds as MCP resources: which there are, what they say, and completions of their names.

How the protocol asks for them is the business of `offers.py`, telling a client of changes that of `subscriptions.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from mcp_types import Completion, ListResourcesResult, Resource, ResourceTemplate

from meshfleet.agents.output import events_file
from meshfleet.agents.standing import fleet_status
from meshfleet.agents.stream import EventStream
from meshfleet.errors import Invalid, NotFound
from meshfleet.ledger import Ledger, View
from meshfleet.ledger.state import Version
from meshfleet.mesh.fleets import list_fleets
from meshfleet.mesh.inboxes import Wanted, get_inbox
from meshfleet.mesh.lifecycle import require_agent
from meshfleet.mesh.templates import get_fleet_template, list_fleet_templates
from meshfleet.mesh.texts import shown
from meshfleet.model import ORCHESTRATOR, AgentStatus, Row, attempt_key, is_own_id

PAGE_SIZE: Final = 100
"""Resources that one answer lists."""
MOST_COMPLETIONS: Final = 100
"""Values that one answer proposes; the protocol allows no more."""

FLEETS_URI: Final = "meshfleet://fleets"
_JSON: Final = "application/json"
_PLAIN: Final = "text/plain"
_MOST_STREAMS: Final = 32
"""Event streams of running agents that are kept, so that reading on costs only what is new."""
_LONGEST_TITLE: Final = 80
"""Characters of a fleet's roles that its title shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of resource, which is also the template of its URIs.

    Attributes:
        before: What the URI has before the name.
        variable: What the name is called; empty where there is one such resource only.
        after: What the URI has after it.
        name: What the kind is called.
        description: What a model or a person is told of it.
        mime_type: What the text is.
        live: Whether it changes without the ledger.
        read: The text of the one with this name; raises NotFound.
    """

    before: str
    variable: str = ""
    after: str = ""
    name: str
    description: str
    mime_type: str = _JSON
    live: bool = False
    read: Callable[[Library, str], str]

    @property
    def template(self) -> str:
        """The URI with its variable in braces."""
        return f"{self.before}{{{self.variable}}}{self.after}" if self.variable else self.before

    def uri(self, key: str) -> str:
        """The URI of the one with this name."""
        return f"{self.before}{quote(key, safe='', errors='surrogatepass')}{self.after}"

    def key(self, uri: str) -> str | None:
        """The name in a URI of this kind; None for another one's."""
        if not self.variable:
            return "" if uri == self.before else None
        if not (uri.startswith(self.before) and uri.endswith(self.after)):
            return None
        inner = uri[len(self.before) : len(uri) - len(self.after)]
        try:
            return unquote(inner, errors="surrogatepass") if inner and "/" not in inner else None
        except UnicodeDecodeError:
            return None


class Library:
    """The resources of one ledger. One thread at a time may read.

    Args:
        ledger: Where everything is but the words of running agents, which lie beside it.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._streams: dict[str, EventStream] = {}

    def read(self, uri: str) -> tuple[Kind, str]:
        """What kind of resource it is, and what it says now.

        Raises:
            NotFound: There is no such resource.
            MeshfleetError: The ledger can't be read.
        """
        kind, key = kind_of(uri)
        return kind, encodable(kind.read(self, key))

    def fingerprint(self, uri: str) -> int | None:
        """A number that is another one once the resource says something else; None while there is none.

        Raises:
            MeshfleetError: The ledger can't be read.
        """
        try:
            return hash(self.read(uri)[1])
        except NotFound:
            return None

    def version(self) -> Version:
        """Which state of the ledger they are of: while it stays, only live resources can change."""
        return self.ledger.read(lambda view: view.version)

    def uris(self) -> list[str]:
        """Every listed resource: the fleets' list, templates by name, fleets from the newest on."""
        templates = sorted({row["name"] for row in list_fleet_templates(self.ledger)["templates"]})
        fleets = self.ledger.read(lambda view: [fleet["id"] for fleet in view.rows("fleets")])
        return [FLEETS_URI, *map(TEMPLATE.uri, templates), *map(FLEET.uri, reversed(fleets))]

    def page(self, cursor: str | None) -> ListResourcesResult:
        """The resources after a cursor, which is the last URI of the page before; the first ones without it.

        Raises:
            Invalid: The cursor is none.
        """
        uris = self.uris()
        start = 0
        if cursor is not None:
            if cursor not in uris:
                raise Invalid(f"cursor is {shown(cursor)}, which is none of this list; list again without one")
            start = uris.index(cursor) + 1
        told = uris[start : start + PAGE_SIZE]
        more = start + PAGE_SIZE < len(uris)
        return ListResourcesResult(
            resources=self.ledger.read(lambda view: [_listed(view, uri) for uri in told]),
            next_cursor=told[-1] if more else None,
        )

    def complete(self, template: str, argument: str, typed: str) -> Completion:
        """The names that begin with what was typed, for the variable of a URI template.

        Raises:
            Invalid: There is no such template or variable.
        """
        for kind in KINDS:
            if kind.variable and (kind.template, kind.variable) == (template, argument):
                return proposals(self._keys(kind), typed)
        raise Invalid(
            f"{shown(template)} with {shown(argument)} is no resource template; resources/templates/list them"
        )

    def words_of(self, agent_id: str) -> str:
        """What an agent has said: from the ledger once it has ended, from its event stream until then."""
        agent = self.ledger.read(lambda view: require_agent(view, agent_id))
        if agent["status"] in _ENDED:
            output = agent.get("output")
            return output if isinstance(output, str) else ""
        # a row that another program wrote may name anything, and this reads the file it names
        is_ours = type(agent.get("attempt")) is int and is_own_id(agent_id)
        return self._words_so_far(agent_id, agent["attempt"]) if is_ours else ""

    def _words_so_far(self, agent_id: str, number: int) -> str:
        attempt = attempt_key(agent_id, number)
        # the one that was read longest ago is the first to go
        stream = self._streams.pop(attempt, None)
        if stream is None:
            stream = EventStream(events_file(self.ledger.data_file, agent_id, number))
        self._streams[attempt] = stream
        if len(self._streams) > _MOST_STREAMS:
            del self._streams[next(iter(self._streams))]
        while stream.advance():
            pass
        return stream.report.words

    def _keys(self, kind: Kind) -> Iterator[str]:
        if kind is TEMPLATE:
            yield from sorted({row["name"] for row in list_fleet_templates(self.ledger)["templates"]})
            return
        if kind is INBOX:
            yield ORCHESTRATOR
        table = "fleets" if kind is FLEET else "agents"
        yield from reversed(self.ledger.read(lambda view: [row["id"] for row in view.rows(table)]))


def _inbox(library: Library, agent_id: str) -> str:
    if agent_id != ORCHESTRATOR:
        library.ledger.read(lambda view: require_agent(view, agent_id))
    return _as_json({"agent_id": agent_id, "messages": get_inbox(library.ledger, Wanted(agent_id))})


def _as_json(value: Row) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


FLEETS: Final = Kind(
    before=FLEETS_URI,
    name="fleets",
    description="Every fleet with its status and how many of its agents stand how, as list_fleets gives them.",
    read=lambda library, _: _as_json(list_fleets(library.ledger)),
)
FLEET: Final = Kind(
    before="meshfleet://fleets/",
    variable="id",
    name="fleet",
    description="A fleet and its agents: status, attempts, what they said, as fleet_status gives them.",
    read=lambda library, fleet_id: _as_json(fleet_status(library.ledger, fleet_id)),
)
INBOX: Final = Kind(
    before="meshfleet://agents/",
    variable="id",
    after="/inbox",
    name="inbox",
    description="The messages that wait for an agent, or with 'orchestrator' as its id for you, oldest first.",
    read=_inbox,
)
OUTPUT: Final = Kind(
    before="meshfleet://agents/",
    variable="id",
    after="/output",
    name="output",
    description="What an agent has said, also while it is still at work.",
    mime_type=_PLAIN,
    live=True,
    read=lambda library, agent_id: library.words_of(agent_id),
)
TEMPLATE: Final = Kind(
    before="meshfleet://templates/",
    variable="name",
    name="template",
    description="The latest version of a saved template, with its agents and their prompts.",
    read=lambda library, name: _as_json(get_fleet_template(library.ledger, name)["template"]),
)
KINDS: Final = (FLEETS, FLEET, INBOX, OUTPUT, TEMPLATE)
_ENDED: Final = frozenset(status for status in AgentStatus if status.has_ended)


def kind_of(uri: str) -> tuple[Kind, str]:
    """The kind of resource a URI names, and the name in it.

    Raises:
        NotFound: No resource has such a URI.
    """
    for kind in KINDS:
        if (key := kind.key(uri)) is not None:
            return kind, key
    raise NotFound("resources/list and resources/templates/list tell those there are")


def templates() -> list[ResourceTemplate]:
    """The kinds of resources that are many."""
    return [
        ResourceTemplate(
            uri_template=kind.template, name=kind.name, description=kind.description, mime_type=kind.mime_type
        )
        for kind in KINDS
        if kind.variable
    ]


def proposals(values: Iterable[str], typed: str) -> Completion:
    """Those values that begin with what was typed, at most as many as the protocol allows."""
    fitting = [encodable(value) for value in values if value.startswith(typed)]
    told = fitting[:MOST_COMPLETIONS]
    return Completion(values=told, total=len(fitting), has_more=len(fitting) > len(told))


def encodable(text: str) -> str:
    """The text without lone surrogates, which an old ledger may hold and no protocol can carry."""
    return text.encode(errors="replace").decode()


def _listed(view: View, uri: str) -> Resource:
    kind, key = kind_of(uri)
    return Resource(
        uri=uri,
        name=encodable(f"{kind.name} {key}".rstrip()),
        title=_roles(view.agents_of(key)) if kind is FLEET else None,
        # what a template resource is has been told with the URI templates; a hundred times would be noise
        description=None if kind.variable else kind.description,
        mime_type=kind.mime_type,
    )


def _roles(agents: Sequence[Row]) -> str:
    """The roles of a fleet on one line, which is what a person knows it by."""
    text = " ".join(encodable(", ".join(agent["role"] for agent in agents)).split())
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= _LONGEST_TITLE else f"{text[: _LONGEST_TITLE - 1]}…"
