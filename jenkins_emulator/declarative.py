"""The compiler from a script to a Pipeline: which sections are allowed where, and with which arguments."""

from collections.abc import Callable
from functools import lru_cache

from jenkins_emulator.groovy_strings import ScriptError
from jenkins_emulator.groovy_syntax import Call, Value, Word, parse
from jenkins_emulator.pipeline import (
    POST_CONDITIONS,
    AllOf,
    AnyOf,
    Condition,
    Echo,
    EnvironmentIs,
    Error,
    Not,
    Options,
    Pipeline,
    Sh,
    Stage,
    Step,
    Timeout,
    Unstable,
    WithEnv,
)

_TIME_UNITS = {"SECONDS": 1.0, "MINUTES": 60.0, "HOURS": 3600.0, "DAYS": 86400.0}


class UnknownStepError(ScriptError):
    """The script uses a step outside of the subset; the newer Jenkins' linter accepts any step."""


# Most jobs have the same script, and parsing it takes 12 ms (measured).
@lru_cache(maxsize=32)
def compile_pipeline(script: str) -> Pipeline:
    """The pipeline of the script; raises ScriptError for the first invalid construct."""
    calls = parse(script)
    if len(calls) != 1 or calls[0].name != "pipeline":
        raise ScriptError("this Jenkins runs one declarative pipeline { … } and nothing beside it", 1, 1)
    sections = _sections(calls[0], ("agent", "options", "stages", "post"))
    for required in ("agent", "stages"):
        if required not in sections:
            raise _error(calls[0], f'Missing required section "{required}"')
    return Pipeline(
        label=_agent(sections["agent"]),
        options=_options(sections["options"]) if "options" in sections else Options(),
        stages=_stages(sections["stages"]),
        post=_post(sections["post"]) if "post" in sections else {},
    )


def _error(call: Call, message: str) -> ScriptError:
    return ScriptError(message, call.line, call.column)


def _sections(call: Call, allowed: tuple[str, ...]) -> dict[str, Call]:
    found: dict[str, Call] = {}
    for section in _block(call):
        if section.name not in allowed:
            raise _error(
                section, f'Undefined section "{section.name}" in {call.name}: this Jenkins knows {", ".join(allowed)}'
            )
        if section.name in found:
            raise _error(section, f'Multiple occurrences of the "{section.name}" section')
        found[section.name] = section
    return found


def _block(call: Call) -> list[Call]:
    if call.block is None:
        raise _error(call, f'Expected a block for "{call.name}"')
    if not call.block:
        raise _error(call, f"{call.name} can not be empty")
    return call.block


def _plain_block(call: Call) -> list[Call]:
    if call.positional or call.named:
        raise _error(call, f'"{call.name}" takes no arguments')
    return _block(call)


def _one_text(call: Call, key: str | None = None) -> str:
    """The single string argument of a call, positional or by its parameter name."""
    values: list[Value] = [*call.positional, *(value for name, value in call.named.items() if name == key)]
    if len(values) != 1 or len(call.positional) + len(call.named) != 1 or not isinstance(values[0], str):
        raise _error(call, f'"{call.name}" takes one single-quoted string')
    return values[0]


def _named(call: Call, **kinds: type) -> dict[str, Value]:
    if call.positional or set(call.named) != set(kinds):
        raise _error(call, f'"{call.name}" takes {", ".join(f"{name}: …" for name in kinds)}')
    for name, kind in kinds.items():
        if not isinstance(call.named[name], kind):
            raise _error(call, f'"{name}" of "{call.name}" is not of the expected type')
    return call.named


def _no_arguments(call: Call) -> None:
    if call.positional or call.named or call.block is not None:
        raise _error(call, f'"{call.name}" takes no arguments')


def _agent(call: Call) -> str | None:
    if call.positional == [Word("any")] and not call.named and call.block is None:
        return None
    [label, *others] = _plain_block(call)
    if label.name != "label" or others:
        raise _error(label, "this Jenkins knows agent any and agent { label '…' }")
    return _one_text(label)


def _options(call: Call) -> Options:
    timeout_seconds: float | None = None
    builds_to_keep: int | None = None
    durability: str | None = None
    disable_concurrent_builds = False
    for option in _plain_block(call):
        match option.name:
            case "timeout":
                timeout_seconds = _timeout_seconds(option)
            case "disableConcurrentBuilds":
                _no_arguments(option)
                disable_concurrent_builds = True
            case "skipDefaultCheckout":
                _no_arguments(option)
            case "durabilityHint":
                durability = _one_text(option)
            case "buildDiscarder":
                builds_to_keep = _log_rotator(option)
            case _:
                raise _error(option, f'Invalid option type "{option.name}": this Jenkins does not know it')
    return Options(timeout_seconds, disable_concurrent_builds, builds_to_keep, durability)


def _log_rotator(option: Call) -> int:
    if (
        len(option.positional) == 1
        and isinstance(rotator := option.positional[0], Call)
        and rotator.name == "logRotator"
    ):
        text = _named(rotator, numToKeepStr=str)["numToKeepStr"]
        if isinstance(text, str) and text.isdecimal() and int(text) > 0:
            return int(text)
    raise _error(option, "buildDiscarder takes logRotator(numToKeepStr: '<number>')")


def _timeout_seconds(call: Call) -> float:
    arguments = call.named if "unit" in call.named else {**call.named, "unit": "MINUTES"}
    time, unit = arguments.get("time"), arguments.get("unit")
    is_known = isinstance(unit, str) and unit in _TIME_UNITS
    if call.positional or set(arguments) != {"time", "unit"} or not isinstance(time, int) or not is_known:
        raise _error(call, "timeout takes time: <number> and unit: one of 'SECONDS', 'MINUTES', 'HOURS', 'DAYS'")
    return time * _TIME_UNITS[str(unit)]


def _stages(call: Call) -> tuple[Stage, ...]:
    stages = tuple(_stage(stage) for stage in _plain_block(call))
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise _error(call, "Duplicate stage name")
    return stages


def _stage(call: Call) -> Stage:
    if call.name != "stage":
        raise _error(call, f'Expected a stage, found "{call.name}"')
    name = _one_text(call)
    sections = _sections(call, ("when", "steps", "parallel", "stages", "post"))
    bodies = [section for key, section in sections.items() if key in ("steps", "parallel", "stages")]
    if len(bodies) != 1:
        raise _error(call, f'Expected one of "steps", "stages", or "parallel" for stage "{name}"')
    return Stage(
        name,
        when=_all(_plain_block(sections["when"])) if "when" in sections else None,
        steps=_steps(_plain_block(sections["steps"])) if "steps" in sections else None,
        parallel=_stages(sections["parallel"]) if "parallel" in sections else None,
        stages=_stages(sections["stages"]) if "stages" in sections else None,
        post=_post(sections["post"]) if "post" in sections else {},
    )


def _post(call: Call) -> dict[str, tuple[Step, ...]]:
    _plain_block(call)
    return {condition: _steps(_plain_block(section)) for condition, section in _sections(call, POST_CONDITIONS).items()}


def _all(calls: list[Call]) -> Condition:
    conditions = tuple(_condition(call) for call in calls)
    return conditions[0] if len(conditions) == 1 else AllOf(conditions)


def _condition(call: Call) -> Condition:
    match call.name:
        case "environment":
            arguments = _named(call, name=str, value=str)
            return EnvironmentIs(str(arguments["name"]), str(arguments["value"]))
        case "not":
            [inner, *others] = _plain_block(call)
            if others:
                raise _error(call, "not takes one condition")
            return Not(_condition(inner))
        case "allOf":
            return AllOf(tuple(_condition(inner) for inner in _plain_block(call)))
        case "anyOf":
            return AnyOf(tuple(_condition(inner) for inner in _plain_block(call)))
    raise _error(call, f'Invalid condition "{call.name}": this Jenkins knows environment, not, allOf, anyOf')


def _steps(calls: list[Call]) -> tuple[Step, ...]:
    return tuple(_step(call) for call in calls)


_TEXT_STEPS: dict[str, tuple[str, Callable[[str], Step]]] = {
    "sh": ("script", Sh),
    "echo": ("message", Echo),
    "error": ("message", Error),
    "unstable": ("message", Unstable),
}


def _step(call: Call) -> Step:
    if call.name in _TEXT_STEPS:
        key, step = _TEXT_STEPS[call.name]
        if call.block is not None:
            raise _error(call, f'"{call.name}" takes no block')
        return step(_one_text(call, key))
    match call.name:
        case "withEnv":
            return WithEnv(_variables(call), _steps(_block(call)))
        case "timeout":
            return Timeout(_timeout_seconds(call), _steps(_block(call)))
    raise UnknownStepError(f'No such DSL method "{call.name}": this Jenkins does not run it', call.line, call.column)


def _variables(call: Call) -> tuple[str, ...]:
    if len(call.positional) == 1 and not call.named and isinstance(items := call.positional[0], list):
        texts = tuple(item for item in items if isinstance(item, str) and "=" in item)
        if len(texts) == len(items):
            return texts
    raise _error(call, "withEnv takes a list of 'NAME=value'")
