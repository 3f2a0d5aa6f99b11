"""Google's side of the commands: topics, subscriptions and grants; Cloud Run's revisions and Secret Manager.

Answers are set by the test, and can be refused.
"""

import base64
import json
from collections.abc import Callable
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

from playground.stand_in import Answer, Call, StandIn, json_answer

SERVICE = "projects/example-project/locations/europe-west1/services/commercetools-segment"


@cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


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
        if path == f"/v2/{SERVICE}":
            # The template is what was deployed last, which need not be what serves.
            template = {"containers": [{"env": [{"name": "SEGMENT_USER_ID", "value": "key"}]}]}
            latest = f"{SERVICE}/revisions/commercetools-segment-00008-bad"
            return json_answer(
                200, {"latestReadyRevision": latest, "trafficStatuses": self.traffic, "template": template}
            )
        if path == f"/v2/{SERVICE}/revisions/{self.revision}":
            values = [{"name": name, "value": value} for name, value in self.environment.items()]
            kept = [
                {"name": name, "valueSource": {"secretKeyRef": {"secret": secret, "version": version}}}
                for name, (secret, version) in self.references.items()
            ]
            sidecar = {"name": "sidecar", "env": [{"name": "SEGMENT_USER_ID", "value": "key"}]}
            ours = {"ports": [{"containerPort": 8080}], "env": [*values, *kept]}
            return json_answer(200, {"name": f"{SERVICE}/revisions/{self.revision}", "containers": [sidecar, ours]})
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
