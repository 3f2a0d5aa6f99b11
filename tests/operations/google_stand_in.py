"""Google's side of the commands: topics, subscriptions and grants; Cloud Run, Secret Manager and Cloud Logging.

Answers are set by the test, and can be refused.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.pubsub_v1 import types

from playground.stand_in import Answer, Call, Fault, StandIn, answer, json_answer

SERVICE = "projects/example-project/locations/europe-west1/services/commercetools-segment"


@cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def a_refusal(**info: object) -> Fault:
    """Answer 403 with an ErrorInfo: https://cloud.google.com/apis/design/errors#error_info."""
    error = {"code": 403, "message": "canary", "status": "PERMISSION_DENIED", "details": [info]}
    return answer(403, body=json.dumps({"error": error}).encode())


class GoogleApis(StandIn):
    """Cloud Run's and Secret Manager's REST APIs, and the token endpoint of an account, on one address.

    `environment` has the values of the serving revision, `references` the secrets that it names, as secret and version.
    `secrets` are values by full name; a path in `forbidden` is answered with 403.
    """

    def __init__(self) -> None:
        super().__init__()
        self.environment: dict[str, str] = {}
        self.references: dict[str, tuple[str, str]] = {}
        self.secrets: dict[str, str] = {}
        self.forbidden: set[str] = set()
        self.service = SERVICE
        self.revision = "commercetools-segment-00007-abc"
        self.traffic: list[dict[str, Any]] = [
            {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": self.revision, "percent": 100}
        ]

    def keep(self, name: str, secret: str, value: str, version: str = "1") -> None:
        """Let the service have a setting from Secret Manager."""
        self.references[name] = (secret, version)
        self.secrets[f"projects/example-project/secrets/{secret}/versions/{version}"] = value

    def shell(self, folder: Path) -> dict[str, str]:
        """Return the variables of a shell that reaches it, with credentials in the folder."""
        account = {
            "type": "service_account",
            "project_id": "example-project",
            "private_key_id": "1",
            "private_key": _private_key(),
            "client_email": "operator@example-project.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{self.url}/token",
        }
        path = folder / "credentials.json"
        path.write_text(json.dumps(account))
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(path),
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"{self.url}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": f"{self.url}/",
            "CLOUDSDK_RUN_REGION": "europe-west1",
        }

    def respond(self, call: Call) -> Answer:
        if call.path == "/token":
            return json_answer(200, {"access_token": "example-token", "expires_in": 3600, "token_type": "Bearer"})
        if call.headers.get("Authorization") != "Bearer example-token":
            return json_answer(401, {"error": {"code": 401, "message": "no token", "status": "UNAUTHENTICATED"}})
        if call.path in self.forbidden:
            error = {"code": 403, "message": "Permission denied on the resource.", "status": "PERMISSION_DENIED"}
            return json_answer(403, {"error": error})
        found = self._found(call.path)
        return json_answer(404, {"error": {"code": 404, "message": "Not found."}}) if found is None else found

    def _found(self, path: str) -> Answer | None:
        if path == f"/v2/{self.service}":
            # The template is what was deployed last, which need not be what serves.
            template = {"containers": [{"env": [{"name": "SEGMENT_USER_ID", "value": "key"}]}]}
            latest = f"{self.service}/revisions/commercetools-segment-00008-bad"
            return json_answer(
                200, {"latestReadyRevision": latest, "trafficStatuses": self.traffic, "template": template}
            )
        if path == f"/v2/{self.service}/revisions/{self.revision}":
            values = [{"name": name, "value": value} for name, value in self.environment.items()]
            kept = [
                {"name": name, "valueSource": {"secretKeyRef": {"secret": secret, "version": version}}}
                for name, (secret, version) in self.references.items()
            ]
            sidecar = {"name": "sidecar", "env": [{"name": "SEGMENT_USER_ID", "value": "key"}]}
            ours = {"ports": [{"containerPort": 8080}], "env": [*values, *kept]}
            return json_answer(
                200, {"name": f"{self.service}/revisions/{self.revision}", "containers": [sidecar, ours]}
            )
        if path.startswith("/v1/") and path.endswith(":access"):
            value = self.secrets.get(path.removeprefix("/v1/").removesuffix(":access"))
            data = None if value is None else base64.b64encode(value.encode()).decode()
            return None if data is None else json_answer(200, {"payload": {"data": data}})
        return None


class GoogleStandIn:
    """A gRPC server on loopback. What is not there is NOT_FOUND; what is `forbidden` by name PERMISSION_DENIED."""

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.subscriptions: dict[str, types.Subscription] = {}
        self.grants: dict[str, list[tuple[str, str]]] = {}  # resource: role and member
        self.forbidden: set[str] = set()
        self.host = ""
        self._server = grpc.server(ThreadPoolExecutor(2))

    def __enter__(self) -> Self:
        self._server.add_generic_rpc_handlers(
            [
                self._service(
                    "google.pubsub.v1.Publisher",
                    GetTopic=(self._topic, types.GetTopicRequest.deserialize, types.Topic.serialize),
                    ListTopicSubscriptions=(
                        self._list,
                        types.ListTopicSubscriptionsRequest.deserialize,
                        types.ListTopicSubscriptionsResponse.serialize,
                    ),
                ),
                self._service(
                    "google.pubsub.v1.Subscriber",
                    GetSubscription=(
                        self._subscription,
                        types.GetSubscriptionRequest.deserialize,
                        types.Subscription.serialize,
                    ),
                ),
                self._service(
                    "google.iam.v1.IAMPolicy",
                    GetIamPolicy=(
                        self._policy,
                        iam_policy_pb2.GetIamPolicyRequest.FromString,
                        policy_pb2.Policy.SerializeToString,
                    ),
                ),
            ]
        )
        self.host = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(None).wait()

    def _service(self, name: str, **methods: tuple[Callable[..., Any], Any, Any]) -> Any:  # noqa: ANN401  # grpc's own
        handlers = {
            method: grpc.unary_unary_rpc_method_handler(handle, read, write)
            for method, (handle, read, write) in methods.items()
        }
        return grpc.method_handlers_generic_handler(name, handlers)

    def _known(self, name: str, context: grpc.ServicerContext, *, known: bool) -> None:
        if name in self.forbidden:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not allowed")
        if not known:
            context.abort(grpc.StatusCode.NOT_FOUND, "not found")

    def _topic(self, request: types.GetTopicRequest, context: grpc.ServicerContext) -> types.Topic:
        self._known(request.topic, context, known=request.topic in self.topics)
        return types.Topic(name=request.topic)

    def _list(
        self, request: types.ListTopicSubscriptionsRequest, context: grpc.ServicerContext
    ) -> types.ListTopicSubscriptionsResponse:
        self._known(request.topic, context, known=request.topic in self.topics)
        names = [name for name, each in self.subscriptions.items() if each.topic == request.topic]
        return types.ListTopicSubscriptionsResponse(subscriptions=names)

    def _subscription(self, request: types.GetSubscriptionRequest, context: grpc.ServicerContext) -> types.Subscription:
        self._known(request.subscription, context, known=request.subscription in self.subscriptions)
        return self.subscriptions[request.subscription]

    def _policy(self, request: iam_policy_pb2.GetIamPolicyRequest, context: grpc.ServicerContext) -> policy_pb2.Policy:
        self._known(f"policy of {request.resource}", context, known=True)
        grants = self.grants.get(request.resource, [])
        return policy_pb2.Policy(bindings=[policy_pb2.Binding(role=role, members=[who]) for role, who in grants])


class CloudLoggingStandIn(StandIn):
    """Cloud Logging: `POST /v2/entries:list`, and `POST /token`, which gives a service account its token.

    It understands the filters and the order that `history` uses, and answers 400 to any other, as it does in fact to
    what it cannot parse. https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
    """

    def __init__(self, project: str = "example-project", page: int = 2) -> None:
        super().__init__()
        self.project = project
        self.entries: list[dict[str, Any]] = []
        self.empty_pages = 0  # that come first: a search that is not over may have found nothing yet
        self._page = page

    def settings(self, folder: Path) -> dict[str, str]:
        """Return the settings of a client with a service account of its own; its key is written into the folder."""
        key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        account = {
            "type": "service_account",
            "client_email": "on-call@example-project.iam.gserviceaccount.com",
            "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            "private_key_id": "1",
            "token_uri": f"{self.url}/token",
        }
        file = folder / "account.json"
        file.write_text(json.dumps(account))
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(file),
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": f"{self.url}/",
        }

    def log(self, line: Mapping[str, object], at: str, service: str = "commercetools-segment") -> None:
        """Keep a line of the service as Cloud Run hands it over: https://cloud.google.com/run/docs/logging."""
        payload = {name: value for name, value in line.items() if name != "severity"}
        self.entries.append(
            {
                "insertId": str(len(self.entries)),
                "logName": f"projects/{self.project}/logs/run.googleapis.com%2Fstdout",
                "resource": {
                    "type": "cloud_run_revision",
                    "labels": {
                        "service_name": service,
                        "revision_name": f"{service}-00001-abc",
                        "configuration_name": service,
                        "location": "europe-west1",
                        "project_id": self.project,
                    },
                },
                "labels": {"instanceId": "00"},
                "severity": line.get("severity", "INFO"),
                "timestamp": at,
                "receiveTimestamp": at,
                "jsonPayload": payload,
            }
        )

    def respond(self, call: Call) -> Answer:
        if call.path == "/token":
            return json_answer(200, {"access_token": "example-token", "expires_in": 3600, "token_type": "Bearer"})
        if (call.method, call.path) != ("POST", "/v2/entries:list"):
            return self.refusal(404, None)
        if call.headers.get("Authorization") != "Bearer example-token":
            return self.refusal(401, None)
        return self._listed(call.json())

    def _listed(self, request: Mapping[str, Any]) -> Answer:
        if request.get("resourceNames") != [f"projects/{self.project}"]:
            return self.refusal(403, None)
        if request.get("orderBy") != "timestamp desc" or not 0 < request["pageSize"] <= 1000:
            return self.refusal(400, None)
        try:
            conditions = [_condition(line) for line in request["filter"].splitlines()]
        except ValueError:
            return self.refusal(400, None)
        return self._paged(request, [each for each in self.entries if all(holds(each) for holds in conditions)])

    def _paged(self, request: Mapping[str, Any], found: list[dict[str, Any]]) -> Answer:
        start = int(request.get("pageToken") or -self.empty_pages)
        if start < 0:
            return json_answer(200, {"nextPageToken": str(start + 1)} if start < -1 else {"nextPageToken": "0"})
        end = start + min(self._page, request["pageSize"])
        newest_first = sorted(found, key=lambda entry: entry["timestamp"], reverse=True)
        document: dict[str, Any] = {"entries": newest_first[start:end]} if found[start:end] else {}
        if end < len(found):
            document["nextPageToken"] = str(end)
        return json_answer(200, document)

    def refusal(self, status: int, retry_after: int | str | None) -> Answer:  # noqa: ARG002  # StandIn's own
        names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
        error = {"code": status, "message": "canary", "status": names.get(status, "UNKNOWN")}
        return json_answer(status, {"error": error})


def _condition(line: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return what one line of a filter asks of an entry. Raises ValueError for what is not understood."""
    parsed = re.fullmatch(r'([A-Za-z_.]+)(=~|>=|=)"([^"]*)"', line)
    if parsed is None:
        raise ValueError(line)
    path, operator, wanted = parsed.groups()

    def holds(entry: Mapping[str, Any]) -> bool:
        value: Any = entry
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is None:
            return False
        if operator == "=~":
            return re.search(wanted, str(value)) is not None
        return str(value) >= wanted if operator == ">=" else bool(value == wanted)

    return holds
