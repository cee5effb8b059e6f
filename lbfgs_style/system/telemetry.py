"""Turn off the telemetry of onnxruntime, which is on by default since its version 1.29 (Linux, macOS).

When it is imported, onnxruntime writes a device id and a database of events below the user's cache folder
(``Microsoft/DeveloperTools/.onnxruntime``), and sends them when it can. The environment variable that turns
this off is read at that time.
"""

import os
import sys

# Defined by onnxruntime; a value that the user has set is kept.
_VARIABLE = "ORT_DISABLE_TELEMETRY"


def turn_off() -> None:
    """Turn off onnxruntime's telemetry, unless the user's environment sets its variable.

    Child processes inherit the setting. Where a host program has imported onnxruntime already, its device id
    and its first event are written: `onnxruntime.disable_telemetry_events` stops those that would follow.
    """
    if _VARIABLE in os.environ:
        return
    os.environ[_VARIABLE] = "1"
    imported = sys.modules.get("onnxruntime")
    if hasattr(imported, "disable_telemetry_events"):
        imported.disable_telemetry_events()  # pyright: ignore[reportOptionalMemberAccess]
