"""Words that mean the same to a developer, and the user's own beside them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from meshfleet.errors import Invalid
from meshfleet.mesh.routing.given import read_given
from meshfleet.mesh.routing.terms import Vocabulary
from meshfleet.mesh.texts import shown

VARIABLE: Final = "MESHFLEET_SYNONYMS"

GROUPS: Final = (
    # languages
    "javascript, js, ecmascript",
    "typescript, ts",
    "python, py, python3",
    "golang, go",
    "rust, rustlang",
    "ruby, rb",
    "java, jdk",
    "kotlin, kt",
    "csharp, c#",
    "fsharp, f#",
    "cpp, c++, cplusplus",
    "objectivec, objc",
    "dotnet, netcore",
    "shell, bash, zsh, sh",
    "latex, tex",
    "regex, regexp, regular expression",
    # in the browser
    "frontend, ui, gui, user interface, clientside",
    "react, reactjs, jsx",
    "vue, vuejs",
    "angular, angularjs",
    "svelte, sveltejs",
    "css, css3, styling, styles, stylesheet, stylesheets",
    "sass, scss",
    "tailwind, tailwindcss",
    "html, html5, markup",
    "component, components, widget, widgets",
    "ux, usability, user experience",
    "accessibility, a11y, accessible",
    "responsive, responsiveness",
    "animation, animations",
    # on the server
    "backend, serverside, server",
    "node, nodejs",
    "express, expressjs",
    "rails, ruby on rails, ror",
    "spring, spring boot",
    "api, apis, endpoint, endpoints",
    "rest, restful",
    "graphql, gql",
    "websocket, websockets",
    "microservices, microservice",
    "queue, queues, message broker",
    "cache, caching, caches",
    "async, asynchronous, asyncio, concurrency, concurrent",
    # data
    "database, databases, db, datastore",
    "sql, queries, query",
    "postgresql, postgres, psql",
    "mongodb, mongo",
    "elasticsearch, elastic",
    "schema, schemas",
    "migration, migrations, migrate",
    "etl, elt, data pipeline",
    "analytics, analysis, analyst, analyze, analyse",
    "machine learning, ml",
    "ai, artificial intelligence",
    "llm, llms, language model, language models",
    "nlp, natural language processing",
    # running it
    "devops, sre, platform engineering",
    "infrastructure, infra, iac",
    "kubernetes, k8s, kube",
    "docker, container, containers, dockerfile",
    "aws, amazon web services",
    "gcp, google cloud",
    "cicd, ci, continuous integration, continuous delivery, continuous deployment",
    "deployment, deploy, deploys, rollout",
    "release, releases, releasing",
    "monitoring, observability, o11y, telemetry, metrics",
    "logging, logs, log",
    "config, configuration, configure",
    "build, builds, compile, compilation",
    # quality
    "testing, test, tests, tester, qa, quality assurance",
    "unit tests, unit test, unit testing",
    "e2e, end to end",
    "debugging, debug, debugger, troubleshooting",
    "bug, bugs, defect, defects",
    "fix, fixes, fixing, bugfix, repair",
    "error, errors, exception, exceptions, crash",
    "refactoring, refactor, cleanup",
    "review, reviewer, reviews, reviewing, code review",
    "linting, lint, linter",
    "performance, perf, optimization, optimisation, optimize, optimise, speed, slow",
    "profiling, profiler, profile",
    "security, appsec, infosec, secure",
    "vulnerability, vulnerabilities, cve",
    "authentication, auth, authn, login, signin",
    "authorization, authorisation, authz, permissions",
    "encryption, cryptography, crypto",
    # around it
    "documentation, docs, doc, document",
    "readme, readmes",
    "writing, writer, write, copywriting",
    "research, researcher, investigate, investigation, explore, explorer",
    "planning, planner, plan",
    "architecture, architect, system design",
    "design, designer, designs",
    "internationalization, internationalisation, i18n",
    "localization, localisation, l10n, translation, translations",
    "dependency, dependencies, deps",
    "package, packages, packaging",
    "repository, repo, repos",
    "cli, terminal, command line",
    "mobile, smartphone",
    "ios, iphone, ipad",
    "email, emails, mail",
)
"""Each line is a group: any of it stands for any other. A term of several words keeps its spaces."""

MOST_IN_A_GROUP: Final = 100
"""Terms that a group of the user's may have."""


class Synonyms:
    """Which terms stand for each other: those that share a group.

    A synonym of a synonym is none unless a group says so.

    Args:
        groups: The groups.
    """

    def __init__(self, groups: Iterable[Iterable[str]]) -> None:
        # the pairs themselves would be as many as the square of a group
        self._groups: dict[str, list[frozenset[str]]] = {}
        for group in groups:
            terms = frozenset(group)
            for term in terms:
                self._groups.setdefault(term, []).append(terms)
        self.terms: Final = self._groups.keys()

    def of(self, term: str) -> frozenset[str]:
        """The synonyms of a term; the empty set for one that has none."""
        groups = self._groups.get(term)
        return frozenset().union(*groups) - {term} if groups else frozenset()


def built_in_groups() -> list[list[str]]:
    """The built-in groups, each a list of terms."""
    return [group.split(", ") for group in GROUPS]


def read_groups(raw: str | None, vocabulary: Vocabulary) -> list[list[str]]:
    """The user's groups: `{"term": ["synonym", ...]}`, a single synonym as a string, or a list of groups.

    Raises:
        Invalid: It is no JSON of that form; the text names the variable.
    """
    if raw is None:
        return []
    given = read_given(VARIABLE, raw)
    if isinstance(given, dict):
        given = [[name, *(others if isinstance(others, list) else [others])] for name, others in given.items()]
    if not isinstance(given, list):
        raise Invalid(f'{VARIABLE} is {shown(given)}; it has to be an object like {{"ui": ["widget"]}}')
    return [_group(group, vocabulary) for group in given]


def _group(group: Any, vocabulary: Vocabulary) -> list[str]:
    if not isinstance(group, list):
        raise Invalid(f"{VARIABLE} holds {shown(group)}, where a list of terms is expected")
    if len(group) > MOST_IN_A_GROUP:
        raise Invalid(f"{VARIABLE} has a group of {len(group)} terms; at most {MOST_IN_A_GROUP} are possible")
    return [_term(name, vocabulary) for name in group]


def _term(name: Any, vocabulary: Vocabulary) -> str:
    if not isinstance(name, str):
        raise Invalid(f"{VARIABLE} holds {shown(name)}, where a term is expected: a string")
    term = vocabulary.canonical(name)
    if not term:
        raise Invalid(f"{VARIABLE} holds {shown(name)}, which has neither a letter nor a digit")
    return term
