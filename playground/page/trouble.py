"""What can go wrong on purpose: the parties' faults, the service's instances, and how Pub/Sub delivers."""

import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from flask import Blueprint
from google.pubsub_v1 import types

from playground.history import Document
from playground.page.body import body, number_in
from playground.stand_in import CLOSE_AFTER_READ, HANG, RESET_BEFORE_READ, Fault, StandIn, answer
from playground.world import DEAD_LETTER_SUBSCRIPTION, DEAD_LETTERS, SUBSCRIPTION, LocalWorld, Service

if TYPE_CHECKING:
    from playground.page.playground import Playground

WORKS = "works"
FAULTS = (WORKS, "down", "429", "500", "slow", "hanging", "lost")
"""down: connections are reset. lost: a request takes effect, and its connection is closed without an answer."""
MOST_INSTANCES = 3
_LONGEST_WAIT = 600  # seconds, of a Retry-After
_LONGEST_LATENCY = 60.0  # seconds
_MOST_LAG = 3  # versions
_FEWEST_ATTEMPTS, MOST_ATTEMPTS = 5, 100  # https://cloud.google.com/pubsub/docs/handling-failures#dead_letter_topic


@dataclass(frozen=True, slots=True)
class Party:
    """How a stand-in behaves: `seconds` is the Retry-After of 429, or the latency of what is slow."""

    fault: str = WORKS
    seconds: float = 2.0
    lag: int = 0
    """How many versions ago commercetools' queries show a resource"""

    @property
    def is_well(self) -> bool:
        return self.fault == WORKS and not self.lag

    def checked(self) -> "Party":
        """Return itself. Raises ValueError with a sentence for what no stand-in can do."""
        if self.fault not in FAULTS:
            raise ValueError(f"A party can be one of: {', '.join(FAULTS)}.")
        longest = _LONGEST_LATENCY if self.fault == "slow" else _LONGEST_WAIT
        if not 0 <= self.seconds <= longest:
            raise ValueError(f"The seconds must be from 0 to {longest:.0f}.")
        if not 0 <= self.lag <= _MOST_LAG:
            raise ValueError(f"Queries can lag 0 to {_MOST_LAG} versions.")
        return self

    @property
    def as_fault(self) -> Fault | None:
        match self.fault:
            case "down":
                return RESET_BEFORE_READ
            case "429":
                return answer(429, retry_after=round(self.seconds))
            case "500":
                return answer(500)
            case "hanging":
                return HANG
            case "lost":
                return CLOSE_AFTER_READ.after_effect()
        return None


class Trouble:
    """Makes trouble in a world and ends it.

    Raises ValueError with a sentence for what cannot be done.
    """

    def __init__(self, world: LocalWorld) -> None:
        self._world = world
        self._stand_ins: Mapping[str, StandIn] = {
            "commercetools": world.commercetools,
            "segment": world.segment,
            "publicApi": world.public_api,
        }
        self._parties = dict.fromkeys(self._stand_ins, Party())
        self._attempts = MOST_ATTEMPTS
        self._switching = threading.Lock()  # held while a party or Pub/Sub is changed, never for long
        self._growing = threading.Lock()  # held while an instance is added or removed
        self._doing: dict[Service, str] = {}  # what is done to an instance at this moment

    def state(self) -> Mapping[str, Any]:
        """Return what each party does, which of them are in `trouble`, the instances and the number of dead letters."""
        duplicate, reorder = self._world.pubsub.disturbance
        instances = [self._instance(number, one) for number, one in enumerate(tuple(self._world.services))]
        trouble = [name for name, party in self._parties.items() if not party.is_well]
        trouble += ["pubsub"] * bool(duplicate or reorder or self._attempts != MOST_ATTEMPTS)
        trouble += ["service"] * any(one["state"] != "running" for one in instances)
        return {
            "parties": {name: asdict(party) for name, party in self._parties.items()},
            "pubsub": {"duplicate": duplicate, "reorder": reorder, "attempts": self._attempts},
            "instances": instances,
            "most_instances": MOST_INSTANCES,
            "dead_letters": self._world.pubsub.backlog(DEAD_LETTER_SUBSCRIPTION),
            "trouble": trouble,
        }

    # The parties

    def switch(self, name: str, **changed: Any) -> None:  # noqa: ANN401  # a Party's fields; what is wrong is refused
        """Change how a party behaves, from its next request on. Raises KeyError for one that does not exist."""
        stand_in = self._stand_ins[name]
        with self._switching:
            party = replace(self._parties[name], **changed).checked()
            self._parties[name] = party
            stand_in.fail(None)  # which ends what hangs
            stand_in.latency = party.seconds if party.fault == "slow" else 0.0
            stand_in.fail(party.as_fault)
            if name == "commercetools":
                self._world.commercetools.lag_query(party.lag)

    def disturb(self, duplicate: float, reorder: float, attempts: int) -> None:
        """Set the shares (0 to 1) of duplicates and of what is held back, and the deliveries before a message is dead.

        https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#deadletterpolicy
        """
        if not (0 <= duplicate <= 1 and 0 <= reorder <= 1):
            raise ValueError("A share must be from 0 to 100 percent.")
        if not _FEWEST_ATTEMPTS <= attempts <= MOST_ATTEMPTS:
            raise ValueError(f"Pub/Sub gives up after {_FEWEST_ATTEMPTS} to {MOST_ATTEMPTS} attempts.")
        with self._switching:
            self._world.pubsub.disturb(duplicate=duplicate, reorder=reorder)
            if attempts != self._attempts:
                policy = types.DeadLetterPolicy(dead_letter_topic=DEAD_LETTERS, max_delivery_attempts=attempts)
                self._world.subscriber.update_subscription(
                    subscription=types.Subscription(name=SUBSCRIPTION, dead_letter_policy=policy),
                    update_mask={"paths": ["dead_letter_policy"]},
                )
                self._attempts = attempts

    def heal(self) -> None:
        """End the trouble of every party, and start what instances are stopped."""
        for name in self._stand_ins:
            self.switch(name, fault=WORKS, lag=0)
        self.disturb(0, 0, MOST_ATTEMPTS)
        for number, service in enumerate(tuple(self._world.services)):
            if not service.is_running and service not in self._doing:
                self.do(number, "start")

    # The service's instances

    def do(self, number: int, what: str) -> None:
        """Start, stop, kill or restart an instance. Raises ValueError if something is done to it at this moment."""
        service = self._service(number)
        with self._busy(service, what):
            if what == "start" and not service.is_running:
                service.start()
            elif what == "stop":
                service.stop()
            elif what == "kill":
                service.kill()
            elif what == "restart":
                service.restart()
            elif what != "start":
                raise ValueError("An instance can be started, stopped, killed or restarted.")

    def add(self) -> None:
        """Start one more instance. Raises ValueError if there are three, or one is being added or removed."""
        with self._one_at_a_time():
            if len(self._world.services) >= MOST_INSTANCES:
                raise ValueError(f"There are {MOST_INSTANCES} instances, and no more are possible.")
            self._world.add_instance()

    def remove(self) -> None:
        """Stop the newest instance, as Cloud Run does. Raises ValueError if it is the only one."""
        with self._one_at_a_time():
            if len(self._world.services) == 1:
                raise ValueError("The last instance stays. It can be stopped.")
            with self._busy(self._world.services[-1], "stop"):
                self._world.remove_instance()

    def _service(self, number: int) -> Service:
        services = self._world.services
        if not 0 <= number < len(services):
            raise ValueError("There is no such instance any more.")
        return services[number]

    def _instance(self, number: int, service: Service) -> Mapping[str, Any]:
        doing = self._doing.get(service)
        running = service.is_running
        pid = None
        if running:
            try:
                pid = service.pid
            except RuntimeError:  # it was stopped a moment ago
                running = False
        words = {"start": "starting", "stop": "stopping", "kill": "being killed", "restart": "restarting"}
        return {
            "number": number,
            "pid": pid,
            "state": words[doing] if doing else "running" if running else "stopped",
        }

    @contextmanager
    def _busy(self, service: Service, what: str) -> Iterator[None]:
        with self._switching:
            if service in self._doing:
                raise ValueError("Something is being done to this instance. Try again in a moment.")
            self._doing[service] = what
        try:
            yield
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        except subprocess.TimeoutExpired:
            raise ValueError("The instance did not end by SIGTERM within 15 seconds, and was killed.") from None
        finally:
            del self._doing[service]

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if not self._growing.acquire(blocking=False):
            raise ValueError("An instance is being added or removed. Try again in a moment.")
        try:
            yield
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        finally:
            self._growing.release()


# The requests


def routes(playground: "Playground") -> Blueprint:
    blueprint = Blueprint("trouble", __name__)
    trouble = playground.trouble

    @blueprint.post("/trouble/parties/<name>")
    def switch(name: str) -> Document:
        given = body()
        fields: dict[str, Callable[[], object]] = {
            "fault": lambda: str(given["fault"]),
            "seconds": lambda: number_in(given, "seconds"),
            "lag": lambda: int(number_in(given, "lag")),
        }
        trouble.switch(name, **{field: read() for field, read in fields.items() if field in given})
        return dict(trouble.state())

    @blueprint.post("/trouble/pubsub")
    def disturb() -> Document:
        given = body()
        now = {**trouble.state()["pubsub"], **given}
        duplicate, reorder, attempts = (number_in(now, field) for field in ("duplicate", "reorder", "attempts"))
        trouble.disturb(duplicate, reorder, int(attempts))
        return dict(trouble.state())

    @blueprint.post("/trouble/heal")
    def heal() -> Document:
        trouble.heal()
        return dict(trouble.state())

    @blueprint.post("/trouble/instances")
    def add() -> Document:
        trouble.add()
        return dict(trouble.state())

    @blueprint.post("/trouble/instances/remove")
    def remove() -> Document:
        trouble.remove()
        return dict(trouble.state())

    @blueprint.post("/trouble/instances/<int:number>/<what>")
    def do(number: int, what: str) -> Document:
        trouble.do(number, what)
        return dict(trouble.state())

    return blueprint
