"""Cloud Storage's JSON API, as far as a checkpoint needs it: objects with generations, and writes with a precondition.

A write with ifGenerationMatch has an effect only if the object's generation is that number (0: there is no object), and
is answered 412 otherwise. Each write gives the object a generation that no object had before. Reads see every write at
once. https://cloud.google.com/storage/docs/request-preconditions
"""

import re
from http import HTTPStatus

from playground.stand_in import Answer, Call, StandIn, json_answer

_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
_OBJECT = re.compile(r"/storage/v1/b/([^/]+)/o/(.+)")
_FIRST_GENERATION = 1_700_000_000_000_000  # they are microseconds in Google's


class StorageStandIn(StandIn):
    """One bucket; any other is answered 404."""

    def __init__(self, bucket: str = "checkpoints") -> None:
        super().__init__()
        self.bucket = bucket
        self.objects: dict[str, tuple[bytes, int]] = {}
        self._newest = _FIRST_GENERATION

    def respond(self, call: Call) -> Answer:
        with self._changed:
            if call.method == "POST" and (found := _UPLOAD.fullmatch(call.path)):
                return self._write(found[1], call)
            if call.method == "GET" and (found := _OBJECT.fullmatch(call.path)):
                return self._read(found[1], found[2], call)
        return self.refusal(HTTPStatus.BAD_REQUEST, None)

    def put(self, name: str, content: bytes) -> None:
        """Write an object as somebody else."""
        with self._changed:
            self._newest += 1
            self.objects[name] = content, self._newest

    def _write(self, bucket: str, call: Call) -> Answer:
        if bucket != self.bucket:
            return self.refusal(HTTPStatus.NOT_FOUND, None)
        if call.query.get("uploadType") != ["media"]:
            return self.refusal(HTTPStatus.BAD_REQUEST, None)
        [name] = call.query["name"]
        _, generation = self.objects.get(name, (b"", 0))
        wanted = call.query.get("ifGenerationMatch")
        if wanted is not None and wanted != [str(generation)]:
            return self.refusal(HTTPStatus.PRECONDITION_FAILED, None)
        self.put(name, call.body)
        return json_answer(HTTPStatus.OK, {"name": name, "bucket": bucket, "generation": str(self._newest)})

    def _read(self, bucket: str, name: str, call: Call) -> Answer:
        if bucket != self.bucket or name not in self.objects:
            return self.refusal(HTTPStatus.NOT_FOUND, None)
        content, generation = self.objects[name]
        if call.query.get("alt") != ["media"]:
            return json_answer(HTTPStatus.OK, {"name": name, "bucket": bucket, "generation": str(generation)})
        headers = {"Content-Type": "application/json", "X-Goog-Generation": str(generation)}
        return Answer(HTTPStatus.OK, content, headers)
