"""Google's side for `check`: topics, subscriptions and grants. Answers are set by the test, and can be refused."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.pubsub_v1 import types


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
