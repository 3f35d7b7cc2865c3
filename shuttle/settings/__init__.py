"""The operator's settings: read from the environment and validated together at the start."""

from shuttle.settings.load import load_settings, names_without_effect, setting_names
from shuttle.settings.model import Settings
from shuttle.settings.types import GIB, MIB

__all__ = ["GIB", "MIB", "Settings", "load_settings", "names_without_effect", "setting_names"]
