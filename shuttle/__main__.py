"""`python -m shuttle` is `shuttle`."""

from shuttle.cli import main

main()
