"""The forms in which tools print a secret: encoded, escaped, quoted. Each form is a string of bytes in a log."""

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from html.entities import codepoint2name
from urllib.parse import quote, quote_plus

from shuttle.logs.utf8 import character_start
from shuttle.request.secrets import MIN_MASKED_BYTES, document_strings

# Every escape begins with one of these. Its hexadecimal digits may be in upper, lower or mixed case.
ESCAPES = (b"\\", b"%", b"&")
# The longest escape with hexadecimal digits is that of Python: `\U0001f600`.
_LONGEST_ESCAPE_BYTES = 10
# Above this size a value is a file rather than a password: only common escapes are searched for, to limit memory.
_MANY_FORMS_BYTES = 512
# Forms are split into pieces, because the search compares a possible form in full at each position: in a line that
# repeats one letter, the search for a secret of 128 KB took 2.8 s a megabyte, for eight secrets 17 s (measured).
# Overlapping pieces are found as one span.
_PIECE_BYTES = 1024
_PIECE_OVERLAP_BYTES = 24
# `base64` wraps at 76 columns (RFC 2045), `openssl base64` and PEM at 64 (RFC 7468).
_WRAP_COLUMNS = (76, 64)
_LINE_END = re.compile(rb"\r?\n")
# Characters that no tool escapes. Most tokens consist of them, and so have no escaped forms.
_UNESCAPED = re.compile(r"[A-Za-z0-9_.\-]*")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
# The values of `safe` with which Python's `quote` escapes as other encoders do: for a segment of a path, for a whole
# path (its default), as JavaScript's encodeURIComponent, and as its encodeURI.
_PERCENT_SAFE = ("", "/", "!'()*~", ";,/?:@&=+$#!'()*~")

_Table = dict[int, str]
_Rewrite = Callable[[str], str]


def printed_forms(secret: str) -> Iterator[bytes]:
    """Every form of a secret. A form of several lines is split into lines, so no form contains a line end; a long one
    is split into overlapping pieces.
    """
    for value in _values(secret):
        if len(value) < MIN_MASKED_BYTES:
            continue
        for form in (value, *_escaped(value), *_base64(value)):
            for line in _LINE_END.split(form):
                if len(line) >= MIN_MASKED_BYTES:
                    yield from _pieces(line)


def _pieces(form: bytes) -> Iterator[bytes]:
    """The form in pieces that begin and end between two characters.

    Text that may be the beginning of a piece is held. If that began within a character, the rest of the character
    would be repaired to U+FFFD, and the piece would not be found.
    """
    last = max(0, len(form) - _PIECE_BYTES)
    for at in (*range(0, last, _PIECE_BYTES - _PIECE_OVERLAP_BYTES), last):
        yield form[_piece_start(form, at) : character_start(form, at + _PIECE_BYTES)]


def _piece_start(form: bytes, at: int) -> int:
    """The start of the character at `at`, or of an escape that may contain it.

    Only a piece with the beginning of an escape is searched for with hexadecimal digits in either case.
    """
    escape = max(form.rfind(first, max(0, at - _LONGEST_ESCAPE_BYTES), at) for first in ESCAPES)
    return escape if escape >= 0 else character_start(form, at)


def base64_cores(secret: str) -> Iterator[bytes]:
    """The base64 characters that depend on the value alone, for each of the three alignments and both alphabets.

    They are in pieces, so that lines of any width are searched for at a bounded cost.
    """
    for value in _values(secret):
        if len(value) >= MIN_MASKED_BYTES:
            for before in range(3):
                for core in _base64_from(value, before)[:2]:
                    yield from _pieces(core)


def _values(secret: str) -> set[bytes]:
    """The value, its lines, and the strings of a JSON document with their lines, as bytes of the log.

    Each is also included without surrounding blanks, which a shell drops. The bytes of a lone surrogate are invalid
    UTF-8, so they become U+FFFD here as in the log.
    """
    values: set[bytes] = set()
    for text in (secret, *document_strings(secret)):
        whole = text.encode(errors="surrogatepass").decode(errors="replace").encode()
        values |= {whole, *_LINE_END.split(whole)}
    return {form for value in values for form in (value, value.strip()) if form}


def _first(before: int) -> int:
    """The index of the first base64 character that contains no bit of the `before` bytes in front of the value."""
    return (before * 8 + 5) // 6


def _url_alphabet(encoded: bytes) -> bytes:
    return encoded.replace(b"+", b"-").replace(b"/", b"_")


def _base64(value: bytes) -> Iterator[bytes]:
    for before in range(3):
        yield from _base64_from(value, before)
    encoded = base64.b64encode(value)
    for columns in _WRAP_COLUMNS:
        for at in range(0, len(encoded), columns):
            yield encoded[at : at + columns]
            yield _url_alphabet(encoded[at : at + columns])


def _base64_from(value: bytes, before: int) -> list[bytes]:
    """The base64 characters of the value with `before` bytes in front of it, in both alphabets.

    The first form is that of a value inside a longer text. The others are those of a value at its end, without and
    with `=`.
    """
    encoded = base64.b64encode(bytes(before) + value)
    ending = encoded[_first(before) :]
    forms = (encoded[_first(before) : (before + len(value)) * 8 // 6], ending.rstrip(b"="), ending)
    return [spelled for form in forms for spelled in (form, _url_alphabet(form))]


def _escaped(value: bytes) -> Iterator[bytes]:
    text = value.decode()
    if not _UNESCAPED.fullmatch(text):
        short = len(value) <= _MANY_FORMS_BYTES
        forms = [*_percent_encoded(text), *_rewritten(text, _ALL_KINDS if short else _COMMON_KINDS), _bash_quoted(text)]
        yield from (form.encode() for form in (*forms, *(_escaped_twice(text) if short else ())))


def _percent_encoded(text: str) -> Iterator[str]:
    for safe in _PERCENT_SAFE:
        yield quote(text, safe=safe)
    yield quote_plus(text)
    yield quote_plus(text, safe="*").replace("~", "%7E")  # URLSearchParams


def _rewritten(text: str, kinds: "_Kinds") -> Iterator[str]:
    """The text escaped by each table of each kind, also with each rewrite of characters beyond ASCII."""
    for tables, rewrites in kinds:
        for table in tables:
            escaped = text.translate(table)
            yield escaped
            if not text.isascii():
                yield from (_BEYOND_ASCII.sub(rewrite, escaped) for rewrite in rewrites)


def _escaped_twice(text: str) -> Iterator[str]:
    """The double escapes that tools print: a URL in a URL, JSON in JSON, a message in JSON lines or in HTML."""
    for once in {*_percent_encoded(text)}:
        yield quote(once, safe="")
        yield once.replace("%", "%25")
    for inner, outer in _PAIRS:
        for once in {*_rewritten(text, inner)}:
            yield from _rewritten(once, outer)


def _each(write: _Rewrite) -> Callable[[re.Match[str]], str]:
    return lambda match: write(match[0])


def _table(pairs: dict[str, str]) -> _Table:
    return {ord(character): escape for character, escape in pairs.items()}


def _backslashed(characters: str) -> _Table:
    return {ord(character): f"\\{character}" for character in characters}


def _utf16(characters: str) -> _Table:
    return {ord(character): f"\\u{ord(character):04x}" for character in characters}


def _utf16_escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at] * 256 + units[at + 1]:04x}" for at in range(0, len(units), 2))


def _octal_escape(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode())


def _entity(character: str) -> str:
    name = codepoint2name.get(ord(character))
    return f"&{name};" if name else character


_BACKSLASH_CONTROLS = _table({"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"})
_JSON = _utf16("".join(map(chr, range(32)))) | _BACKSLASH_CONTROLS | _backslashed('"\\')
_SLASH = _backslashed("/")
_JSON_TABLES: Sequence[_Table] = (
    _JSON,
    _JSON | _SLASH,  # PHP
    _JSON | _utf16("<>&\u2028\u2029"),  # Go, Rails
    _JSON | _utf16("<>&='"),  # Gson
    _JSON | _utf16("<>&'+`\""),  # .NET
    _JSON | _SLASH | _utf16("<>&'\""),  # PHP with its JSON_HEX_… options
)
_JSON_REWRITES = (_each(_utf16_escape),)

_REPR = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | _table({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
_REPR |= _backslashed("\\")
_REPR_TABLES: Sequence[_Table] = (
    _REPR,
    _REPR | _backslashed("'"),
    _REPR | _backslashed('"'),
    _backslashed("\\'"),  # Perl, PHP
)
_REPR_REWRITES = (
    _each(lambda character: ascii(character)[1:-1]),
    _each(lambda character: repr(character.encode())[2:-1]),
)

_ANSI_C = {code: f"\\{code:03o}" for code in (*range(32), 127)} | _BACKSLASH_CONTROLS | _backslashed("\\'")
_ANSI_C |= _table({"\a": "\\a", "\v": "\\v", "\x1b": "\\E"})
_BASH_SPECIAL = " \t!\"$&'()*,;<>?[\\]^`{|}"
_SHELL_TABLES: Sequence[_Table] = (
    _table({"'": "'\\''"}),
    _table({"'": "'\"'\"'"}),
    _backslashed('$`"\\'),
    _backslashed('$`"\\!'),
    _ANSI_C,
    _backslashed(_BASH_SPECIAL),
    _backslashed(_BASH_SPECIAL + "#~="),  # zsh, and quoting of every special character
    _backslashed(_BASH_SPECIAL.replace(",", "") + "#~=%"),  # Ruby
)
_SHELL_REWRITES = (_each(_octal_escape),)

_MARKUP = _table({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_MARKUP_QUOTES: Sequence[dict[str, str]] = (
    {},
    {'"': "&quot;"},
    {'"': "&quot;", "'": "&#x27;"},
    {'"': "&quot;", "'": "&#39;"},
    {'"': "&quot;", "'": "&#039;"},
    {'"': "&quot;", "'": "&apos;"},
    {"'": "&apos;"},
    {'"': "&#34;", "'": "&#39;"},
    {'"': "&#34;", "'": "&#39;", "+": "&#43;"},  # Go's templates
    {'"': "&quot;", "'": "&#39;", "/": "&#x2F;", "`": "&#x60;", "=": "&#x3D;"},  # mustache
    {'"': "&quot;", "'": "&#x27;", "`": "&#x60;", "=": "&#x3D;"},  # handlebars
    {'"': "&quot;", "'": "&#x27;", "/": "&#x2F;"},
    {'"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"},  # attributes of XML
    {'"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"},
)
_MARKUP_TABLES: Sequence[_Table] = (
    _table({"&": "&amp;", "<": "&lt;"}),
    *(_MARKUP | _table(quotes) for quotes in _MARKUP_QUOTES),
    _table({"&": "&amp;", '"': "&quot;"}),  # attributes as browsers write them
    _table({"&": "&amp;", "<": "&lt;", '"': "&quot;"}),  # attributes of canonical XML
)
_MARKUP_REWRITES = (
    _each(lambda character: f"&#{ord(character)};"),
    _each(lambda character: f"&#x{ord(character):x};"),
    _each(_entity),
)

# Quoted texts of YAML, SQL and CSV.
_DOUBLED_TABLES: Sequence[_Table] = (_table({"'": "''"}), _table({'"': '""'}))

_Kinds = Sequence[tuple[Sequence[_Table], Sequence[Callable[[re.Match[str]], str]]]]
_ALL_KINDS: _Kinds = (
    (_JSON_TABLES, _JSON_REWRITES),
    (_REPR_TABLES, _REPR_REWRITES),
    (_SHELL_TABLES, _SHELL_REWRITES),
    (_MARKUP_TABLES, _MARKUP_REWRITES),
    (_DOUBLED_TABLES, ()),
)
_COMMON_KINDS: _Kinds = (
    (_JSON_TABLES[:3], _JSON_REWRITES),
    (_REPR_TABLES[:2], _REPR_REWRITES[:1]),
    (_SHELL_TABLES[:1], ()),
    (_MARKUP_TABLES[3:5], ()),
)
_PAIRS: Sequence[tuple[_Kinds, _Kinds]] = (
    (
        ((_JSON_TABLES[:1], _JSON_REWRITES), (_REPR_TABLES[:2], _REPR_REWRITES), *_COMMON_KINDS[2:]),
        ((_JSON_TABLES[:1], _JSON_REWRITES),),
    ),
    *((((_JSON_TABLES[at : at + 1], _JSON_REWRITES),),) * 2 for at in (1, 2)),
    (((_JSON_TABLES[:1], _JSON_REWRITES),), ((_REPR_TABLES[:2], ()),)),
    (((_JSON_TABLES[:1], _JSON_REWRITES), (_MARKUP_TABLES[3:5], ())), ((_MARKUP_TABLES[3:5], ()),)),
)


def _bash_quoted(text: str) -> str:
    """The form of `printf %q`, which quotes # and ~ only at the beginning of a word."""
    quoted = text.translate(_backslashed(_BASH_SPECIAL))
    return f"\\{quoted}" if text[:1] in {"#", "~"} else quoted
