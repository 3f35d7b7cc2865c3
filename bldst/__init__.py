"""bldst: the command line of the build state API. Standard library only, Python 3.8 or newer."""

__version__ = "0.1.0"
