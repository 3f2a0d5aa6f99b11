"""A load tool: keeps N connections busy with pushes for some seconds, and prints what came back as one JSON line.

python -m bench.load PORT CONNECTIONS SECONDS created|updated|ordered FILE_OF_IDS [RATE]

Says "ready", begins at a line on stdin, and never pushes for an id twice. With a RATE, so many pushes are due each
second whatever the answers take, and a push that has to wait for a connection counts from the moment when it was due.
PUSH_TOKEN in the environment is the token that each push carries.
"""

# ruff: noqa: E402  # gevent patches before anything else is imported
from gevent import monkey

monkey.patch_all()

import base64
import json
import os
import socket
import sys
import time
from collections import Counter
from pathlib import Path

import gevent

CUSTOMER = {
    "createdAt": "2026-01-02T03:04:05.678Z",
    "lastModifiedAt": "2026-01-02T03:04:05.678Z",
    "lastModifiedBy": {"clientId": "client", "isPlatformClient": False},
    "createdBy": {"clientId": "client", "isPlatformClient": False},
    "firstName": "Mira",
    "lastName": "Example",
    "password": "****aGg=",
    "addresses": [
        {
            "id": "address1",
            "streetName": "Hauptstraße",
            "streetNumber": "5",
            "postalCode": "10115",
            "city": "Berlin",
            "country": "DE",
            "mobile": "+49 30 1234567",
        }
    ],
    "shippingAddressIds": ["address1"],
    "billingAddressIds": ["address1"],
    "defaultBillingAddressId": "address1",
    "isEmailVerified": False,
    "customerGroupAssignments": [],
    "stores": [],
    "authenticationMode": "Password",
    "locale": "de-DE",
}


def created(customer_id: str) -> dict[str, object]:
    """CustomerCreated with its customer."""
    customer = {"id": customer_id, "version": 1, "email": f"{customer_id}@example.com", **CUSTOMER}
    return {
        "notificationType": "Message",
        "projectKey": "demo-shop",
        "id": customer_id,
        "version": 1,
        "sequenceNumber": 1,
        "resource": {"typeId": "customer", "id": customer_id},
        "resourceVersion": 1,
        "type": "CustomerCreated",
        "customer": customer,
        "createdAt": "2026-01-02T03:04:05.678Z",
        "lastModifiedAt": "2026-01-02T03:04:05.678Z",
    }


def updated(customer_id: str) -> dict[str, object]:
    """ResourceUpdated, which brings no customer."""
    return {
        "notificationType": "ResourceUpdated",
        "projectKey": "demo-shop",
        "resource": {"typeId": "customer", "id": customer_id},
        "resourceUserProvidedIdentifiers": {},
        "version": 1,
        "oldVersion": 0,
        "modifiedAt": "2026-01-02T03:04:05.678Z",
    }


def ordered(order_id: str) -> dict[str, object]:
    """OrderPaymentStateChanged, which brings no order."""
    return {
        "notificationType": "Message",
        "projectKey": "demo-shop",
        "id": order_id,
        "version": 1,
        "sequenceNumber": 2,
        "resource": {"typeId": "order", "id": order_id},
        "resourceVersion": 1,
        "resourceUserProvidedIdentifiers": {"orderNumber": "O-000001"},
        "type": "OrderPaymentStateChanged",
        "paymentState": "Paid",
        "oldPaymentState": "Pending",
        "createdAt": "2026-01-02T03:04:05.678Z",
        "lastModifiedAt": "2026-01-02T03:04:05.678Z",
    }


_NOTIFICATIONS = {"created": created, "updated": updated, "ordered": ordered}


def push(notification: dict[str, object], number: int, token: str = "") -> bytes:
    """The whole HTTP request, as Pub/Sub makes it."""
    authorization = f"Authorization: Bearer {token}\r\n".encode() if token else b""
    data = base64.b64encode(json.dumps(notification, separators=(",", ":")).encode()).decode()
    message = {
        "data": data,
        "messageId": str(number),
        "message_id": str(number),
        "publishTime": "2026-01-02T03:04:05.678Z",
        "publish_time": "2026-01-02T03:04:05.678Z",
    }
    envelope = {"message": message, "subscription": "projects/demo/subscriptions/customers-to-segment"}
    body = json.dumps(envelope).encode()
    return (
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: CloudPubSub-Google\r\nContent-Type: application/json\r\n"
        b"%bContent-Length: %d\r\n\r\n%b" % (authorization, len(body), body)
    )


def read_answer(connection: socket.socket) -> bytes:
    """Read one answer; return its status."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = connection.recv(4096)
        if not more:
            raise ConnectionError("closed without an answer")
        answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next(
        (int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(4096)
    return head[9:12]


def main() -> None:
    port, connections, seconds, kind, ids, *rate = sys.argv[1:]
    make = _NOTIFICATIONS[kind]
    about = Path(ids).read_text().split()
    token = os.environ.get("PUSH_TOKEN", "")
    requests = iter([(number, push(make(each), number, token)) for number, each in enumerate(about)])
    apart = 1 / float(rate[0]) if rate else 0.0
    statuses: Counter[str] = Counter()
    latencies: list[float] = []
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    end = started + float(seconds)

    def keep_busy() -> None:
        with socket.create_connection(("127.0.0.1", int(port))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while time.perf_counter() < end:
                number, request = next(requests, (0, b""))
                if not request:
                    return
                begin = time.perf_counter()
                if apart:
                    due = started + number * apart
                    gevent.sleep(max(due - begin, 0))
                    begin = due
                connection.sendall(request)
                status = read_answer(connection)
                latencies.append(time.perf_counter() - begin)
                statuses[status.decode()] += 1

    gevent.joinall([gevent.spawn(keep_busy) for _ in range(int(connections))], raise_error=True)
    latencies.sort()
    print(
        json.dumps(
            {
                "statuses": statuses,
                "messages": len(latencies),
                "seconds": time.perf_counter() - started,
                "p50": latencies[len(latencies) // 2],
                "p99": latencies[int(len(latencies) * 0.99)],
            }
        )
    )


if __name__ == "__main__":
    main()
