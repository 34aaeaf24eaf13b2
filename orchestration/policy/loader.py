"""Reads a policy folder into a `Policy`: safe YAML, duplicate keys refused, types, cross-references, canonical hash.

Not here: what the rules mean (the dbt models) and how they reach SQL (`tables.py`)."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from orchestration.errors import AssentError, ExitCode
from orchestration.policy import schema
from orchestration.safe_yaml import SafeLoader

SHIPPED = Path(__file__).parent
FILES: dict[str, type[BaseModel]] = {
    "organisation": schema.Organisation,
    "purposes": schema.Purposes,
    "sources": schema.Sources,
    "minimisation": schema.Minimisation,
    "retention": schema.Retention,
    "notices": schema.Notices,
    "segments": schema.Segments,
    "destinations": schema.Destinations,
    "reclassifications": schema.Reclassifications,
}
# About relations that are shipped: a folder without a file of its own has the shipped review, until that expires.
SHIPPED_UNLESS_GIVEN = frozenset({"reclassifications"})
MAX_DEPTH = 50  # of the shipped policy: 8
MAX_FILE_BYTES = 1_000_000  # a policy file fits one screen; this is a bound against anchor bombs


@dataclass(frozen=True)
class Problem:
    """One error: where, what, and what to write instead."""

    file: str
    line: int
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}. {self.remedy}"


class PolicyError(AssentError):
    """The policy cannot be used. `problems` holds every error found."""

    exit_code = ExitCode.POLICY

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__(f"the policy has {len(problems)} error(s)", remedy="Run `assent policy check`")
        self.args = (f"the policy has {len(problems)} error(s):\n" + "\n".join(f"  {p}" for p in problems),)


class _Node(dict[Hashable, Any]):
    """A mapping that remembers the lines of its keys."""

    lines: dict[Hashable, int]
    line: int


class _List(list[Any]):
    lines: list[int]
    line: int


class _Loader(SafeLoader):
    """Safe YAML with line numbers. Duplicate keys and non-string keys are errors (fault C14)."""

    def construct_mapping_lines(self, node: yaml.MappingNode) -> _Node:
        out = _Node()
        out.lines, out.line = {}, node.start_mark.line + 1
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not text; put it in quotes", key_node.start_mark
                )
            if key in out:
                raise yaml.constructor.ConstructorError(None, None, f"`{key}` is given twice", key_node.start_mark)
            out[key] = self.construct_object(value_node, deep=True)
            out.lines[key] = key_node.start_mark.line + 1
        return out

    def construct_list_lines(self, node: yaml.SequenceNode) -> _List:
        out = _List(self.construct_object(child, deep=True) for child in node.value)
        out.lines = [child.start_mark.line + 1 for child in node.value]
        out.line = node.start_mark.line + 1
        return out


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_mapping_lines)
_Loader.add_constructor("tag:yaml.org,2002:seq", _Loader.construct_list_lines)
# Only true and false are booleans, so `no` stays text (fault C14); times stay text for pydantic; `22:00` and `010` are
# text too, where YAML 1.1 would read the numbers 1320 and 8.
_IMPLICIT = {
    "bool": (r"^(?:true|false)$", "tf"),
    "int": (r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    "float": (r"^[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?$", "-+0123456789"),
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag.rpartition(":")[2] not in {*_IMPLICIT, "timestamp"}]
    for first, resolvers in SafeLoader.yaml_implicit_resolvers.items()
}
for _name, (_pattern, _first) in _IMPLICIT.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), list(_first))


def _check_shape(content: str) -> None:
    """Aliases are errors (fault C14), and so is what no policy nests so deep: libyaml would follow it to its end."""
    depth = 0
    for event in yaml.parse(content, Loader=SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias or depth > MAX_DEPTH:
            what = "aliases (`*name`) are not allowed" if is_alias else "it is nested too deep"
            raise yaml.MarkedYAMLError(None, None, what, event.start_mark)  # type: ignore[arg-type]


def line_of(tree: Any, path: tuple[Any, ...]) -> int:
    """The line in the file of the value at `path`, or of the nearest thing above it."""
    line = getattr(tree, "line", 1)
    for step in path:
        try:
            line = tree.lines[step]
            tree = tree[step]
        except (AttributeError, KeyError, IndexError, TypeError):
            continue
    return int(line)


def _read(path: Path, problems: list[Problem]) -> Any:
    if not path.is_file():
        problems.append(
            Problem(path.name, 1, "the file is missing", f"Add {path.name}; see the shipped policy for an example")
        )
        return None
    try:
        text = path.read_bytes()
        if len(text) > MAX_FILE_BYTES:
            problems.append(Problem(path.name, 1, "the file is too large", f"Keep it under {MAX_FILE_BYTES} bytes"))
            return None
        content = text.decode("utf-8")
        _check_shape(content)
        tree = yaml.load(content, Loader=_Loader)  # a SafeLoader
        if tree is None:
            problems.append(Problem(path.name, 1, "the file is empty", "See the shipped policy for an example"))
        return tree
    except UnicodeDecodeError:
        problems.append(Problem(path.name, 1, "the file is not UTF-8", "Save it as UTF-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        problems.append(
            Problem(path.name, mark.line + 1 if mark else 1, f"not valid YAML: {error.problem}", "Correct the YAML")
        )
    except (yaml.YAMLError, ValueError, RecursionError):  # characters, endless numbers, bottomless nesting
        problems.append(Problem(path.name, 1, "not valid YAML", "Correct the YAML"))
    return None


def _typed(name: str, tree: Any, problems: list[Problem]) -> BaseModel | None:
    try:
        return FILES[name].model_validate(tree)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_input=False):
            path = tuple(item["loc"])
            where = ".".join(str(step) for step in path) or "the file"
            remedy = (
                "Remove it, or correct its name" if item["type"] == "extra_forbidden" else "See `assent policy schema`"
            )
            if item["type"] == "missing":
                remedy = f"Add `{path[-1]}:`"
            elif "ctx" in item and "expected" in item["ctx"]:
                remedy = f"Write one of: {item['ctx']['expected']}"
            problems.append(Problem(f"{name}.yaml", line_of(tree, path), f"`{where}`: {item['msg']}", remedy))
    return None


def policy_file(folder: Path, name: str) -> Path:
    """The file that says this part of the policy in `folder`: its own, or the shipped one where it may lack it."""
    path = folder / f"{name}.yaml"
    return SHIPPED / path.name if name in SHIPPED_UNLESS_GIVEN and not os.path.lexists(path) else path


def read_policy(folder: Path) -> tuple[schema.Policy | None, dict[str, Any], list[Problem]]:
    """Reads and checks `folder`: the policy (None if broken), the raw trees with line numbers, every problem."""
    from orchestration.policy.check import cross_check

    problems: list[Problem] = []
    trees = {name: _read(policy_file(folder, name), problems) for name in FILES}
    parts = {name: _typed(name, tree, problems) for name, tree in trees.items() if tree is not None}
    known = {f"{name}.yaml" for name in FILES}
    allowed = known | {"vocabulary.yaml"} if folder.resolve() == SHIPPED.resolve() else known
    for extra in sorted(folder.glob("*.y*ml")) if folder.is_dir() else ():
        if extra.name not in allowed:
            problems.append(Problem(extra.name, 1, "not a policy file", f"Name it one of: {', '.join(sorted(known))}"))
    if problems or any(part is None for part in parts.values()):
        return None, trees, problems
    policy = schema.Policy.model_validate(parts)
    problems.extend(cross_check(policy, trees, folder))
    return (None if problems else policy), trees, problems


@functools.lru_cache(maxsize=8)
def load_policy(folder: Path = SHIPPED) -> schema.Policy:
    """The checked policy in `folder`. Raises PolicyError with every problem."""
    policy, _, problems = read_policy(folder)
    if policy is None:
        raise PolicyError(problems)
    return policy


def canonical(policy: schema.Policy) -> str:
    """The policy as canonical JSON: sorted keys, no spaces; comments and order of keys do not count."""
    return json.dumps(
        policy.model_dump(mode="json", by_alias=True), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )


def model_files(folder: Path) -> Iterator[Path]:
    """The company's own dbt models, part of the policy."""
    models = folder / "models"
    yield from sorted(path for path in models.rglob("*") if path.is_file()) if models.is_dir() else ()


def policy_hash(policy: schema.Policy, folder: Path) -> str:
    """SHA-256 (hex) of the canonical policy, the closed lists and the folder's own models."""
    digest = hashlib.sha256(canonical(policy).encode())
    digest.update((SHIPPED / "vocabulary.yaml").read_bytes())
    for path in model_files(folder):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def scopes(policy: schema.Policy) -> tuple[schema.Scope, ...]:
    """Every (controller, purpose, category, recipient) a consent can cover, with its bit, in the policy's order."""
    keys = [
        (controller, purpose.name, category, purpose.recipient)
        for purpose in policy.purposes.purposes
        for controller in purpose.controllers
        for category in purpose.categories
    ]
    return tuple(
        schema.Scope(bit=bit, controller=controller, purpose=purpose, category=category, recipient=recipient)
        for bit, (controller, purpose, category, recipient) in enumerate(keys)
    )
