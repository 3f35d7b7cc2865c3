"""One greeting for one name."""

WORDS = {"de": "Hallo", "en": "Hello", "es": "Hola", "fr": "Bonjour", "it": "Ciao"}


def greet(name: str, language: str = "en") -> str:
    """Return the greeting; raises LookupError for an unknown language."""
    if language not in WORDS:
        raise LookupError(f"no greeting in {language!r}; known are {', '.join(sorted(WORDS))}")
    return f"{WORDS[language]}, {name.strip() or 'stranger'}!"
