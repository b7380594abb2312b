"""From checked documents to what requests are compared with; every fault of every document at once.

Shape was checked by the models of `mappings.rules` and `mappings.packformat`. Here texts get their meaning:
hosts and paths become canonical, patterns are expanded, names of packs are looked up. What can be proved
wrong is a fault now rather than a surprise later: a rule that no request can match, a pack nobody has, two
rules that match the same. Rules are compiled by `mappings.rulesets`. It reads no files.

    mappings/site.yaml:9:5: host "A.test." is bound twice; keep one
    mappings/site.yaml:3:32: pack "kubernets" is not known; did you mean "kubernetes"
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from mappings.actions import canonical_action
from mappings.bodies import Pointer, read_pointer
from mappings.compiled import HTTP_PACK, Binding, Compiled, RuleSet, RuleSource, Tunnel
from mappings.documents import parse
from mappings.environments import Classifier, environment_value
from mappings.hosts import HostIndex, host_pattern
from mappings.knownnames import KnownNames
from mappings.located import Located, unknown
from mappings.lookups import ENVIRONMENT, Lookup
from mappings.matches import RESERVED, Match
from mappings.places import Document, DocumentError, Fault, PackError, Path
from mappings.recognition import Pack
from mappings.resolution import ATTRIBUTES
from mappings.routepack import Route, RouteList, RoutePack, read_prefix, read_route
from mappings.rulesets import Matched, RuleCompiler
from mappings.tunnels import add_tunnel

if TYPE_CHECKING:
    # The shapes of documents take pydantic, whose start costs more than compiling (0.1 s): only when there are any.
    from mappings.packformat import PackFile
    from mappings.rules import BindText, ClassifierText, LookupText, MappingFile

_NONE_SHIPPED: Mapping[str, RuleSource] = MappingProxyType({})


def compile_documents(
    documents: Sequence[Document], packs: Iterable[Pack], shipped: Mapping[str, RuleSource] = _NONE_SHIPPED
) -> Compiled:
    """Return the compiled mappings; raise PackError with every fault.

    `shipped` holds the rules of packs whose documents were left out because nobody asked for them yet.
    """
    compiler = _Compiler(packs, shipped)
    files, sites = _read(documents, compiler.faults)
    # Packs first, whole: binds and rules name them.
    for document, file in files:
        compiler.add_pack(Located(document, compiler.faults), file)
    compiler.offer_hosts()
    known = KnownNames(compiler.packs)
    for document, file in files:
        compiler.rules_of(file.pack, known).add(Located(document, compiler.faults), file.rules)
    for document, site in sites:
        compiler.add_site(Located(document, compiler.faults), site, known)
    compiled = compiler.compiled()
    if compiler.faults:
        raise PackError(compiler.faults)
    return compiled


def _read(
    documents: Sequence[Document], faults: list[Fault]
) -> tuple[list[tuple[Document, PackFile]], list[tuple[Document, MappingFile]]]:
    files: list[tuple[Document, PackFile]] = []
    sites: list[tuple[Document, MappingFile]] = []
    if documents:
        from mappings.packformat import PackFile
        from mappings.rules import MappingFile
    for document in documents:
        try:
            if isinstance(document.value, dict) and "pack" in document.value:
                files.append((document, parse(document, PackFile, error=PackError)))
            else:
                sites.append((document, parse(document, MappingFile, error=PackError)))
        except DocumentError as error:
            faults.extend(error.faults)
    return files, sites


def compile_pack(document: Document) -> tuple[RouteList, RuleSet]:
    """Return the route table and the rules of one shipped pack; raise PackError with every fault.

    Whether its rules name what there is, and whether two of them tie, was found out before it was shipped.
    """
    from mappings.packformat import PackFile

    file = parse(document, PackFile, error=PackError)
    faults: list[Fault] = []
    located = Located(document, faults)
    routes = _route_list(located, file)
    rules = RuleCompiler(file.pack, None)
    rules.add(located, file.rules)
    compiled = rules.compiled()
    if faults:
        raise PackError(faults)
    return routes, compiled


class _Compiler:
    """Gathers faults while it builds; nothing it holds is used when there is one."""

    def __init__(self, packs: Iterable[Pack], shipped: Mapping[str, RuleSource]) -> None:
        self.faults: list[Fault] = []
        self.packs: dict[str, Pack] = {pack.name: pack for pack in packs}
        self.code_packs = frozenset(self.packs)
        self.pack_files = set(shipped)
        self.shipped = shipped
        self.bound: HostIndex[Binding] = HostIndex()
        self.offered: HostIndex[Binding] = HostIndex()
        self.classifiers: list[Classifier] = []
        self.lookups: dict[str, Lookup] = {}
        self.rules: dict[str, RuleCompiler] = {}
        self.tunnels: dict[tuple[str, int], Tunnel] = {}

    def compiled(self) -> Compiled:
        sets = {scope: rules.compiled() for scope, rules in self.rules.items()}
        own = sets.pop("", None) or RuleCompiler("", None).compiled()
        return Compiled(
            self.packs,
            self.bound,
            self.offered,
            tuple(self.classifiers),
            tuple(self.lookups.values()),
            own,
            {**self.shipped, **{scope: partial(_itself, rules) for scope, rules in sets.items()}},
            self.tunnels,
        )

    def rules_of(self, scope: str, known: KnownNames) -> RuleCompiler:
        if scope not in self.rules:
            self.rules[scope] = RuleCompiler(scope, known)
        return self.rules[scope]

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
        routes = partial(_itself, _route_list(located, pack))
        self.packs[pack.pack] = RoutePack(pack.pack, pack.family or pack.pack, tuple(hosts), routes)

    def offer_hosts(self) -> None:
        for pack in self.packs.values():
            for host in pack.hosts:
                other = self.offered.get(host)
                packs = (*other.packs, pack.name) if other else (pack.name,)
                self.offered.put(host, Binding(packs, {}, other.family if other else pack.family))

    # --- the operator's file ---

    def add_site(self, located: Located, site: MappingFile, known: KnownNames) -> None:
        for at, bind in enumerate(site.bind):
            self._bind(located, ("bind", at), bind)
        for at, classifier in enumerate(site.env):
            self._classify(located, ("env", at), classifier)
        for name, lookup in site.lookups.items():
            self._look_up(located, ("lookups", name), name, lookup, known)
        for at, tunnel in enumerate(site.tunnels):
            add_tunnel(located, ("tunnels", at), tunnel, self.tunnels)
        self.rules_of("", known).add(located, site.rules)

    def _bind(self, located: Located, path: Path, bind: BindText) -> None:
        pattern = located.attempt((*path, "host"), host_pattern, bind.host)
        for name in bind.pack:
            if name not in self.packs and name != HTTP_PACK:
                located.fault((*path, "pack"), unknown("pack", name, [*self.packs, HTTP_PACK]))
        if "env" in bind.facts:
            located.attempt((*path, "facts", "env"), environment_value, bind.facts["env"])
        for name in sorted(ATTRIBUTES.intersection(bind.facts)):
            located.key_fault(
                (*path, "facts", name), f'fact "{name}" is what a pack says of an operation; choose another name'
            )
        prefix = located.attempt((*path, "prefix"), read_prefix, bind.prefix)
        if pattern is None or prefix is None:
            return
        if self.bound.get(pattern):
            located.fault((*path, "host"), f'host "{bind.host}" is bound twice; keep one')
        first = self.packs.get(bind.pack[0])
        family = first.family if first else HTTP_PACK
        self.bound.put(pattern, Binding(bind.pack, dict(bind.facts), family, prefix))

    def _classify(self, located: Located, path: Path, classifier: ClassifierText) -> None:
        located.attempt((*path, "value"), environment_value, classifier.value)
        if not classifier.when:
            located.fault((*path, "when"), "when is empty and would always hold; name a fact")
        for name in sorted(ATTRIBUTES.intersection(classifier.when)):
            message = f'fact "{name}" says what a call does, not where; name another'
            located.key_fault((*path, "when", name), message)
        when = tuple((name, tuple(glob.casefold() for glob in globs)) for name, globs in classifier.when.items())
        self.classifiers.append(Classifier(classifier.value, when))

    def _look_up(self, located: Located, path: Path, name: str, lookup: LookupText, known: KnownNames) -> None:
        if name in self.lookups:
            located.key_fault(path, f'lookup "{name}" is already there; choose another name')
        match = Match(located, (*path, "match"), lookup.match, known) if lookup.match else None
        key: str | Pointer | None = lookup.key
        if lookup.key.startswith("json:"):
            key = located.attempt((*path, "key"), read_pointer, lookup.key.removeprefix("json:"))
            if match is None:
                located.fault(path, "a key in the body needs a match, or every request would need its body; add one")
        for identifier, row in lookup.table.items():
            where: Path = (*path, "table", identifier)
            if ENVIRONMENT in row:
                located.attempt((*where, ENVIRONMENT), environment_value, row[ENVIRONMENT])
            for fact in sorted((RESERVED - {ENVIRONMENT}).intersection(row)):
                located.key_fault((*where, fact), f'fact "{fact}" is taken; choose another name')
        if key is not None:
            told = any(ENVIRONMENT in row for row in lookup.table.values())
            self.lookups[name] = Lookup(name, match.all_predicates() if match else (), key, lookup.table, told)


def _route_list(located: Located, pack: PackFile) -> RouteList:
    matched = Matched()
    prefixes = located.attempt_each(("prefixes",), read_prefix, pack.prefixes) or [""]
    routes = [
        route
        for operation, texts in pack.operations.items()
        for route in _routes(located, pack.pack, operation, texts, prefixes, matched)
    ]
    captures = {name for route in routes for template in route.templates for name in template.captures}
    for at, name in enumerate(pack.fold):
        if name not in captures:
            located.fault(("fold", at), unknown("capture", name, list(captures)))
    return RouteList(tuple(routes), frozenset(pack.fold))


def _routes(
    located: Located, pack: str, operation: str, texts: Sequence[str], prefixes: Sequence[str], matched: Matched
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
                key = (route.host, method, template.steps, frozenset(route.query))
                matched.once(located, (*path, at), key, f'route "{text}"')
            if route.host:
                break


def _pack_name(text: str) -> str:
    if ":" in text or canonical_action(text) != text:
        raise ValueError(f'pack "{text}" is no name; write one lower-case word')
    return text


def _itself[T](value: T) -> T:
    return value
