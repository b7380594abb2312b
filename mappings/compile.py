"""From checked documents to rules that can be compared with requests; every fault of every document at once.

Shape was checked by the models of `mappings.rules` and `mappings.packformat`. Here texts get their meaning:
hosts and paths become canonical, patterns are expanded, names of packs are looked up. What can be proved
wrong is a fault now rather than a surprise later: a rule that no request can match, a pack nobody has, two
rules that match exactly the same. It reads no files.

    mappings/site.yaml:9:5: rule "b" matches what rule "a" matches (mappings/site.yaml:4:5); make one more specific
    mappings/site.yaml:3:32: pack "kubernets" is not known; did you mean "kubernetes"
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from mappings.actions import canonical_action
from mappings.bodies import Pointer, read_pointer
from mappings.compiled import HTTP_PACK, Binding, Compiled, Rule
from mappings.documents import parse
from mappings.environments import Classifier, environment_value
from mappings.hosts import HostIndex, host_pattern
from mappings.located import Located, unknown
from mappings.matches import Match
from mappings.operations import OperationIndex
from mappings.packformat import PackFile
from mappings.places import Document, DocumentError, Fault, PackError, Path
from mappings.recognition import Pack
from mappings.resolution import RuleRef
from mappings.routepack import Route, RoutePack, read_prefix, read_route
from mappings.routes import RouteIndex
from mappings.rules import BindText, ClassifierText, MappingFile, RuleText
from mappings.templates import read_action_template, read_target_template


def compile_documents(documents: Sequence[Document], code_packs: Iterable[Pack]) -> Compiled:
    """Return the compiled mappings; raise PackError with every fault."""
    compiler = _Compiler(code_packs)
    packs: list[tuple[Document, PackFile]] = []
    sites: list[tuple[Document, MappingFile]] = []
    for document in documents:
        try:
            if isinstance(document.value, dict) and "pack" in document.value:
                packs.append((document, parse(document, PackFile, error=PackError)))
            else:
                sites.append((document, parse(document, MappingFile, error=PackError)))
        except DocumentError as error:
            compiler.faults.extend(error.faults)
    # Packs first, whole: binds and rules name them.
    for document, pack in packs:
        compiler.add_pack(Located(document, compiler.faults), pack)
    compiler.offer_hosts()
    for document, pack in packs:
        compiler.add_rules(Located(document, compiler.faults), pack.rules, pack.pack)
    for document, site in sites:
        compiler.add_site(Located(document, compiler.faults), site)
    if compiler.faults:
        raise PackError(compiler.faults)
    return compiler.compiled()


class _Compiler:
    """Gathers faults while it builds; nothing it holds is used when there is one."""

    def __init__(self, code_packs: Iterable[Pack]) -> None:
        self.faults: list[Fault] = []
        self.packs: dict[str, Pack] = {pack.name: pack for pack in code_packs}
        self.code_packs = frozenset(self.packs)
        self.pack_files: set[str] = set()
        self.bound: HostIndex[Binding] = HostIndex()
        self.offered: HostIndex[Binding] = HostIndex()
        self.classifiers: list[Classifier] = []
        self.paths: RouteIndex[Rule] = RouteIndex()
        self.operations: OperationIndex[Rule] = OperationIndex()
        self.ids: dict[tuple[str, str], str] = {}
        self.matches: dict[object, tuple[str, str]] = {}

    def compiled(self) -> Compiled:
        return Compiled(self.packs, self.bound, self.offered, tuple(self.classifiers), self.paths, self.operations)

    # --- packs ---

    def add_pack(self, located: Located, pack: PackFile) -> None:
        if pack.pack in self.pack_files or pack.pack == HTTP_PACK:
            located.fault(("pack",), f'pack "{pack.pack}" is already there; choose another name')
            return
        self.pack_files.add(pack.pack)
        if pack.pack in self.code_packs:
            for key in ("hosts", "operations", "family", "prefixes", "fold"):
                if getattr(pack, key):
                    located.fault((key,), f'pack "{pack.pack}" is code; only rules can be added to it')
            return
        located.attempt(("pack",), _pack_name, pack.pack)
        hosts = located.attempt_each(("hosts",), host_pattern, pack.hosts)
        prefixes = located.attempt_each(("prefixes",), read_prefix, pack.prefixes) or [""]
        routes = [
            route
            for operation, texts in pack.operations.items()
            for route in self._routes(located, pack.pack, operation, texts, prefixes)
        ]
        captures = {name for route in routes for template in route.templates for name in template.captures}
        for at, name in enumerate(pack.fold):
            if name not in captures:
                located.fault(("fold", at), unknown("capture", name, list(captures)))
        family = pack.family or pack.pack
        self.packs[pack.pack] = RoutePack(pack.pack, family, tuple(hosts), routes, frozenset(pack.fold))

    def _routes(
        self, located: Located, pack: str, operation: str, texts: Sequence[str], prefixes: Sequence[str]
    ) -> Iterable[Route]:
        path: Path = ("operations", operation)
        if located.attempt(path, canonical_action, f"{pack}:{operation}") is None:
            return
        for at, text in enumerate(texts):
            for prefix in prefixes:
                route = located.attempt((*path, at), read_route, operation, text, prefix)
                if route is None:
                    break
                yield route
                for method, template in itertools.product(sorted(route.methods), route.templates):
                    key = ("route", pack, route.host, method, template.steps, frozenset(route.query))
                    self.once(located, (*path, at), key, f'route "{text}"')
                if route.host:
                    break

    def offer_hosts(self) -> None:
        for pack in self.packs.values():
            for host in pack.hosts:
                other = self.offered.get(host)
                packs = (*other.packs, pack.name) if other else (pack.name,)
                self.offered.put(host, Binding(packs, {}, other.family if other else pack.family))

    # --- the operator's file ---

    def add_site(self, located: Located, site: MappingFile) -> None:
        for at, bind in enumerate(site.bind):
            self._bind(located, ("bind", at), bind)
        for at, classifier in enumerate(site.env):
            self._classify(located, ("env", at), classifier)
        self.add_rules(located, site.rules, "")

    def _bind(self, located: Located, path: Path, bind: BindText) -> None:
        pattern = located.attempt((*path, "host"), host_pattern, bind.host)
        for name in bind.pack:
            if name not in self.packs and name != HTTP_PACK:
                located.fault((*path, "pack"), unknown("pack", name, [*self.packs, HTTP_PACK]))
        if "env" in bind.facts:
            located.attempt((*path, "facts", "env"), environment_value, bind.facts["env"])
        if pattern is None:
            return
        if self.bound.get(pattern):
            located.fault((*path, "host"), f'host "{bind.host}" is bound twice; keep one')
        first = self.packs.get(bind.pack[0])
        family = first.family if first else HTTP_PACK
        self.bound.put(pattern, Binding(bind.pack, dict(bind.facts), family))

    def _classify(self, located: Located, path: Path, classifier: ClassifierText) -> None:
        located.attempt((*path, "value"), environment_value, classifier.value)
        if not classifier.when:
            located.fault((*path, "when"), "when is empty and would always hold; name a fact")
        when = tuple((name, tuple(glob.casefold() for glob in globs)) for name, globs in classifier.when.items())
        self.classifiers.append(Classifier(classifier.value, when))

    # --- rules ---

    def add_rules(self, located: Located, rules: Sequence[RuleText], scope: str) -> None:
        for at, rule in enumerate(rules):
            self._rule(located, ("rules", at), rule, scope)

    def _rule(self, located: Located, path: Path, text: RuleText, scope: str) -> None:
        place = str(located.document.place(path))
        first = self.ids.setdefault((scope, text.id), place)
        if first != place:
            located.fault((*path, "id"), f'rule "{text.id}" stands twice (first {first}); rename one')
        match = Match(located, (*path, "match"), text.match, self.packs)
        action = located.attempt((*path, "action"), read_action_template, text.action)
        target = None
        if text.target is not None:
            target = located.attempt((*path, "target"), read_target_template, text.target)
        each = self._each(located, path, text)
        for key, template in (("action", action), ("target", target)):
            if template and "each" in template.names and text.each is None:
                located.fault((*path, key), 'template uses "${each}" but the rule has no each')
        if action is None or match.broken:
            return
        rule = Rule(
            RuleRef(text.id, scope, place, located.document.digest),
            scope,
            match.methods,
            match.hosts,
            match.predicates,
            match.json_count,
            match.text_count,
            each,
            action,
            target,
            any(predicate.reads_body for predicate in match.predicates)
            or isinstance(each, Pointer)
            or any(template.reads_body for template in (action, target) if template),
        )
        for piece in match.pieces():
            self.once(located, path, (scope, *piece), f'rule "{text.id}"')
        if match.operations:
            for pattern in match.operations:
                self.operations.add(pattern, rule)
        else:
            self.paths.add(rule, match.hosts, match.templates)

    def _each(self, located: Located, path: Path, text: RuleText) -> str | Pointer | None:
        if text.each is None or not text.each.startswith("json:"):
            return text.each
        name = text.each.removeprefix("json:")
        return located.attempt((*path, "each"), read_pointer, name, many=True)

    # --- faults ---

    def once(self, located: Located, path: Path, key: object, what: str) -> None:
        place = str(located.document.place(path))
        first = self.matches.setdefault(key, (what, place))
        if first[1] != place:
            located.fault(
                path,
                f"{what} matches what {first[0]} matches ({first[1]}); make one more specific or merge them",
            )


def _pack_name(text: str) -> str:
    if ":" in text or canonical_action(text) != text:
        raise ValueError(f'pack "{text}" is no name; write one lower-case word')
    return text
