"""Settings: `model` has each with its bounds, `sources` reads them, `checks` looks at URLs and files."""

from service.adapters.settings.model import PREFIX, ROTATING, SECRETS_IN_USE, Settings, SettingsError
from service.adapters.settings.sources import ENV_FILE, SECRETS, SettingsSource, load_settings, named_env_file

__all__ = [
    "ENV_FILE",
    "PREFIX",
    "ROTATING",
    "SECRETS",
    "SECRETS_IN_USE",
    "Settings",
    "SettingsError",
    "SettingsSource",
    "load_settings",
    "named_env_file",
]
