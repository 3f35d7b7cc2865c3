"""`python3 hello.pyz [NAME [LANGUAGE]]`."""

import sys

from hello.greeting import greet


def main() -> None:
    """Print one greeting."""
    print(greet(*(sys.argv[1:] or ["world"])))


if __name__ == "__main__":
    main()
