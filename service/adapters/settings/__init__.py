"""Settings: `model` has each with its bounds, `sources` reads them, `checks` has faults, `rotation` notices changes."""

from service.adapters.settings.model import PREFIX, ROTATING, SECRETS_IN_USE, Settings, SettingsError
from service.adapters.settings.rotation import Rotation, RotationEvents
from service.adapters.settings.sources import ENV_FILE, SECRETS, SettingsSource, load_settings, named_env_file

__all__ = [
    "ENV_FILE",
    "PREFIX",
    "ROTATING",
    "SECRETS",
    "SECRETS_IN_USE",
    "Rotation",
    "RotationEvents",
    "Settings",
    "SettingsError",
    "SettingsSource",
    "load_settings",
    "named_env_file",
]
