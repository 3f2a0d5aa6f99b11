"""The server answers in one piece and not half-way."""

from service.serving.worker import AnswerInOnePiece


class Connection:
    """A connection that takes at most so many bytes at once, and records what it got and how."""

    def __init__(self, takes: int = 1000) -> None:
        self.takes = takes
        self.happened: list[tuple[object, ...]] = []

    def send(self, data: bytes) -> int:
        self.happened.append(("send", data[: self.takes]))
        return min(self.takes, len(data))

    def sendall(self, data: bytes) -> None:
        self.happened.append(("sendall", data))

    def close(self) -> None:
        self.happened.append(("close",))


def test_head_and_body_leave_together() -> None:
    connection = Connection()
    answer = AnswerInOnePiece(connection)

    answer.sendall(b"head")
    answer.sendall(b"body")
    assert connection.happened == []
    answer.leave()

    assert connection.happened == [("send", b"headbody")]


def test_what_the_connection_does_not_take_at_once_follows() -> None:
    connection = Connection(takes=6)
    answer = AnswerInOnePiece(connection)

    answer.sendall(b"head")
    answer.sendall(b"body")
    answer.leave()

    assert connection.happened == [("send", b"headbo"), ("sendall", b"dy")]


def test_where_there_is_no_answer_nothing_is_sent() -> None:
    connection = Connection()

    AnswerInOnePiece(connection).leave()

    assert connection.happened == []


def test_of_an_answer_that_failed_half_way_nothing_is_sent() -> None:
    connection = Connection()
    answer = AnswerInOnePiece(connection)

    answer.sendall(b"head")
    answer.close()
    answer.leave()

    assert connection.happened == [("close",)]


def test_everything_else_is_the_connections_own() -> None:
    connection = Connection()

    assert AnswerInOnePiece(connection).send(b"HTTP/1.1 100 Continue") == 21

    assert connection.happened == [("send", b"HTTP/1.1 100 Continue")]
