"""bldst variable set and get."""

from typing import Tuple

from bldst.errors import CommandError, UsageError
from bldst.run import Run

_MASKED = "******"


def set_variables(run: Run) -> int:
    """Set the variables in order. A repeated command changes nothing."""
    fields = run.fields
    pairs = [_pair(word) for word in run.places["pairs"]]
    key, value = fields.pop("variable_key", None), fields.pop("variable_value", None)
    if key is not None:
        pairs.append((key, run.read_stdin() if value == "-" else value))
    if not pairs:
        raise UsageError("variable set needs KEY=VALUE, or --key and --value")
    answers = []
    for name, text in pairs:
        answers.append(
            run.ask("POST", "/builds/{build}/variables", body={"variable_key": name, "variable_value": text, **fields})
        )
        run.say(f"variable {name} is set")
    if run.output.chosen:
        run.output.show_data(answers[0] if len(answers) == 1 else answers, run.command)
    return 0


def get_variable(run: Run) -> int:
    """Print the value alone; the whole row only if a format was asked for."""
    row = run.ask_object("GET", "/builds/{build}/variables/{variable_key}")
    if "variable_value" not in row:
        raise CommandError("the answer has no value")
    if run.output.chosen in ("json", "table"):
        run.output.show_data(row, run.command)
        return 0
    if row.get("is_sensitive") and row["variable_value"] == _MASKED:
        raise CommandError("the variable is sensitive, and this key may not read it")
    run.output.line(str(row["variable_value"]))
    return 0


def _pair(word: str) -> Tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise UsageError(f"variable set takes KEY=VALUE, not {key!r}")
    return key, value
