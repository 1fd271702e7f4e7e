"""Settings: `model` has each with its bounds, `sources` reads them, `checks` looks at URLs and files."""

from service.adapters.settings.model import PREFIX, Settings, SettingsError
from service.adapters.settings.sources import ENV_FILE, SECRETS, load_settings, named_env_file, watched_files

__all__ = ["ENV_FILE", "PREFIX", "SECRETS", "Settings", "SettingsError", "load_settings", "named_env_file", "watched_files"]
