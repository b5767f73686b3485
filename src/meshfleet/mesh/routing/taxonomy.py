"""The tree of skills: which lie below which. One is built in, the user's own is added to it.

A skill may stand in several places. Where the user's tree and the built-in one disagree about what lies below what, the
user's holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

from meshfleet.errors import Invalid
from meshfleet.mesh.routing.given import read_given
from meshfleet.mesh.routing.terms import Vocabulary
from meshfleet.mesh.texts import shown

VARIABLE: Final = "MESHFLEET_TAXONOMY"
DEEPEST: Final = 32
"""Levels that a user's tree may have."""

BUILT_IN: Final[dict[str, Any]] = {
    "frontend": {
        "react": ["nextjs", "remix", "gatsby", "redux", "preact", "react native"],
        "vue": ["nuxt", "pinia", "vuex"],
        "angular": ["rxjs", "ngrx"],
        "svelte": ["sveltekit"],
        "css": ["sass", "tailwind", "bootstrap", "postcss", "flexbox", "responsive", "animation"],
        "html": ["dom", "svg", "web components"],
        "javascript": ["typescript", "jquery", "webpack", "vite", "babel", "eslint"],
        "accessibility": ["aria", "wcag", "screen reader"],
        "component": ["storybook"],
        "ux": ["wireframes", "prototyping"],
    },
    "design": ["figma", "ux", "typography", "branding"],
    "backend": {
        "node": ["express", "fastify", "nestjs", "koa", "deno", "bun"],
        "python": ["django", "flask", "fastapi", "sqlalchemy", "pydantic", "celery"],
        "java": ["spring", "hibernate", "maven", "gradle"],
        "kotlin": ["ktor"],
        "ruby": ["rails", "sinatra"],
        "php": ["laravel", "symfony", "wordpress"],
        "golang": ["gin", "gorm"],
        "rust": ["tokio", "actix", "axum"],
        "dotnet": {"csharp": ["aspnet", "blazor"], "fsharp": []},
        "elixir": ["phoenix"],
        "scala": ["akka"],
        "api": ["rest", "graphql", "grpc", "openapi", "websocket", "webhooks"],
        "queue": ["kafka", "rabbitmq", "nats"],
        "microservices": [],
        "cache": ["redis", "memcached"],
        "database": {},
    },
    "database": {
        "sql": ["postgresql", "mysql", "sqlite", "mariadb", "mssql", "oracle"],
        "nosql": ["mongodb", "redis", "cassandra", "dynamodb", "elasticsearch"],
        "orm": ["sqlalchemy", "hibernate", "prisma"],
        "schema": ["migration"],
    },
    "systems": ["cpp", "rust", "zig", "assembly", "kernel", "embedded", "firmware"],
    "data": {
        "analytics": ["pandas", "numpy", "jupyter", "statistics", "tableau", "dashboards"],
        "data engineering": ["etl", "spark", "airflow", "dbt", "snowflake", "bigquery"],
        "ai": {
            "machine learning": {"deep learning": ["pytorch", "tensorflow", "keras"], "sklearn": []},
            "nlp": {"llm": ["prompts", "rag", "embeddings"]},
            "computer vision": ["opencv"],
        },
    },
    "devops": {
        "infrastructure": ["terraform", "ansible", "pulumi", "nginx"],
        "docker": {"kubernetes": ["helm", "istio"]},
        "cicd": ["jenkins", "gitlab", "github actions", "build"],
        "cloud": {"aws": ["lambda", "s3", "ec2"], "azure": [], "gcp": []},
        "deployment": ["release"],
        "monitoring": ["prometheus", "grafana", "sentry", "logging", "opentelemetry"],
        "linux": ["systemd", "shell"],
    },
    "mobile": {
        "ios": ["swift", "swiftui", "objectivec", "xcode"],
        "android": ["kotlin", "jetpack"],
        "flutter": ["dart"],
        "react native": ["expo"],
    },
    "testing": {
        "unit tests": ["pytest", "jest", "vitest", "junit", "mocha"],
        "e2e": ["cypress", "playwright", "selenium"],
        "load testing": ["k6", "locust"],
        "fuzzing": ["hypothesis"],
    },
    "debugging": {"bug": [], "error": [], "profiling": []},
    "quality": ["testing", "review", "refactoring", "linting"],
    "performance": ["profiling", "benchmarks", "load testing", "cache"],
    "security": {
        "authentication": ["oauth", "jwt", "sso", "saml"],
        "authorization": ["rbac"],
        "encryption": ["tls"],
        "pentesting": ["vulnerability"],
        "vulnerability": ["xss", "csrf"],
    },
    "documentation": ["readme", "changelog", "tutorials", "docstrings", "sphinx"],
    "writing": ["documentation", "editing", "proofreading"],
    "localization": ["internationalization"],
    "version control": {"git": ["github", "gitlab"]},
}


@dataclass(slots=True)
class Taxonomy:
    """Which skills lie directly above and below each.

    Attributes:
        above: The parents of each skill that has any.
        below: The children of each skill that has any.
        names: Every skill.
    """

    above: dict[str, set[str]] = field(default_factory=dict)
    below: dict[str, set[str]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def link(self, parent: str, child: str) -> bool:
        """Put a skill below another; False, and nothing done, when that would close a circle."""
        if parent == child or child in dict(reach(self.above, parent)):
            return False
        self.above.setdefault(child, set()).add(parent)
        self.below.setdefault(parent, set()).add(child)
        return True


def reach(links: dict[str, set[str]], start: str, most_steps: int | None = None) -> Iterator[tuple[str, int]]:
    """Every skill that can be reached over links, with the fewest steps it takes, nearest first.

    Args:
        links: Where each skill leads.
        start: Where to begin.
        most_steps: Where to end; None is nowhere.
    """
    seen, ring, steps = {start}, [start], 0
    while ring and steps != most_steps:
        steps += 1
        ring = sorted({name for known in ring for name in links.get(known, ())} - seen)
        seen.update(ring)
        yield from ((name, steps) for name in ring)


def build_taxonomy(raw: str | None, vocabulary: Vocabulary) -> Taxonomy:
    """The built-in tree and the user's, which is JSON: objects, lists or strings below names.

    Args:
        raw: The user's, inline or the path of a file; None when there is none.
        vocabulary: How names are read.

    Raises:
        Invalid: It is no JSON of that form, or puts a skill below itself; the text names the variable.
    """
    taxonomy = Taxonomy()
    if raw is not None:
        given = read_given(VARIABLE, raw)
        if not isinstance(given, dict):
            raise Invalid(f'{VARIABLE} is {shown(given)}; it has to be an object like {{"frontend": ["react"]}}')
        for parent, child in _links(given, None, 1, vocabulary):
            taxonomy.names.add(child)
            if parent is not None:
                taxonomy.above.setdefault(child, set()).add(parent)
                taxonomy.below.setdefault(parent, set()).add(child)
        _require_a_tree(taxonomy.above)
    for parent, child in _links(BUILT_IN, None, 1, vocabulary):
        taxonomy.names.add(child)
        if parent is not None:
            taxonomy.link(parent, child)
    return taxonomy


def _require_a_tree(above: dict[str, set[str]]) -> None:
    """Refuse circles, and skills that lie too deep by whichever way."""
    levels: dict[str, int] = {}
    try:
        for skill in TopologicalSorter(above).static_order():
            levels[skill] = 1 + max((levels[parent] for parent in above.get(skill, ())), default=0)
    except CycleError as error:
        *circle, _ = error.args[1]
        first = circle.index(min(circle))
        circle = [*circle[first:], *circle[:first], circle[first]]
        raise Invalid(f"{VARIABLE} puts {shown(circle[0])} below itself: {shown(' > '.join(circle))}") from None
    if max(levels.values(), default=0) > DEEPEST:
        raise Invalid(f"{VARIABLE} has more than {DEEPEST} levels")


def _links(tree: Any, parent: str | None, level: int, vocabulary: Vocabulary) -> Iterator[tuple[str | None, str]]:
    if level > DEEPEST:
        raise Invalid(f"{VARIABLE} has more than {DEEPEST} levels")
    if tree is None:
        return
    if isinstance(tree, str):
        yield parent, _skill(tree, vocabulary)
    elif isinstance(tree, list):
        for item in tree:
            if not isinstance(item, (str, dict)):
                raise Invalid(f"{VARIABLE} lists {shown(item)}, where a skill is expected: a string or an object")
            yield from _links(item, parent, level, vocabulary)
    elif isinstance(tree, dict):
        for name, below in tree.items():
            skill = _skill(name, vocabulary)
            yield parent, skill
            yield from _links(below, skill, level + 1, vocabulary)
    else:
        raise Invalid(f"{VARIABLE} holds {shown(tree)}, where skills are expected: an object, a list or a string")


def _skill(name: str, vocabulary: Vocabulary) -> str:
    skill = vocabulary.canonical(name)
    if not skill:
        raise Invalid(f"{VARIABLE} names {shown(name)}, which has neither a letter nor a digit")
    return skill
