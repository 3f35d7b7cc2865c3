"""A tokenizer for the subset of Groovy that pipelines may use; anything else is an error."""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
      (?P<space>[ ]+)
    | (?P<newline>\n)
    | (?P<triple>'''(?:[^\\']|\\.|'(?!''))*''')
    | (?P<single>'(?:[^\\'\n]|\\.)*')
    | (?P<number>[0-9]+)
    | (?P<word>[A-Za-z]+)
    | (?P<mark>[{}()\[\],:])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def tokens(script: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of every token but spaces; strings are decoded by Groovy's rules for single quotes."""
    position = 0
    while position < len(script):
        found = _TOKEN.match(script, position)
        assert found is not None, f"not in the subset: {script[position : position + 40]!r}"
        position = found.end()
        kind, text = str(found.lastgroup), found.group()
        if kind in ("triple", "single"):
            yield "string", decoded(text)
        elif kind != "space":
            yield kind, text


def decoded(literal: str) -> str:
    """The value of a string literal."""
    body = literal[3:-3] if literal.startswith("'''") else literal[1:-1]
    assert "\\u" not in body.replace("\\\\", ""), "Groovy reads this as a Unicode escape"
    return re.sub(r"\\(.)", lambda escape: _ESCAPES[escape.group(1)], body, flags=re.DOTALL)


def constructs(script: str) -> set[str]:
    """The shapes of a script's statements: each line with its strings and numbers replaced by S and N."""
    shapes, line = set(), ""
    for kind, text in tokens(script):
        if kind == "newline":
            shapes.add(line)
            line = ""
        else:
            line += {"string": "S", "number": "N"}.get(kind, f" {text} " if text == "{" else text)
            line += " " if kind == "word" else ""
    return {re.sub(r" +", " ", shape).strip() for shape in shapes if shape.strip()}
