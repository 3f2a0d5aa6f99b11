"""Whether the promises hold, looked at all the time."""

from collections.abc import Mapping
from typing import Any

from playground.page.messages import Messages
from playground.page.profiles import Profiles
from playground.world import LocalWorld


class Judge:
    def __init__(self, world: LocalWorld, messages: Messages, profiles: Profiles) -> None:
        self._world, self._messages, self._profiles = world, messages, profiles

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def look_at(self, resource_type: str, resource_id: str) -> None: ...

    def rules_changed(self, *, built_in: bool) -> None: ...

    def state(self) -> Mapping[str, Any]:
        return {}
