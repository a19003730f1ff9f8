"""Fingerprints of results: two machines that compute the same bits print the same text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kdrun.records import Outcome, Status
from kdrun.store.arrays import Array, portable


@dataclass(frozen=True)
class DigestRow:
    """What `results_digest` reads of one run; `responses` as `responses_text` writes them."""

    run_id: str
    status: Status
    responses: str
    parameters_sha256: str

    @classmethod
    def of(cls, outcome: Outcome) -> DigestRow:
        """What the digest reads of an outcome."""
        responses = responses_text(outcome.responses)
        return cls(outcome.run_id, outcome.status, responses, parameters_digest(outcome.parameters))

    def line(self) -> str:
        """The run as one line of JSON, e.g.

        `{"id":"3f…","status":"done","responses":{"eval_mse":"0x1.0p-11"},"parameters":"e3b0…"}`

        Keys in this order, responses sorted by name, no spaces, no escapes beyond those that JSON asks for.
        """
        # Ids, digests and statuses hold nothing that JSON escapes.
        head = f'{{"id":"{self.run_id}","status":"{self.status}"'
        return f'{head},"responses":{self.responses},"parameters":"{self.parameters_sha256}"}}'


def responses_text(responses: Mapping[str, float]) -> str:
    """Responses as one JSON object, sorted by name, each value as `float.hex` writes it, without spaces."""
    texts = {name: float(value).hex() for name, value in sorted(responses.items())}
    return json.dumps(texts, ensure_ascii=False, separators=(",", ":"))


def results_digest(rows: Iterable[DigestRow]) -> str:
    """SHA-256, in hexadecimal, over the lines of the runs ordered by run id, each ended by a newline, in UTF-8.

    A run that is missing has no line. Time, host, path and versions have no part in it.
    """
    # Lines take a third of the memory of rows, which counts where there are a hundred thousand.
    lines = sorted((row.run_id, row.line()) for row in rows if row.status != "missing")
    digest = hashlib.sha256()
    for _, line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def parameters_digest(parameters: Mapping[str, Array]) -> str:
    """SHA-256, in hexadecimal, of named arrays: for each, by sorted name, a line of JSON and then its bytes.

    The line is `["w","<f4",[17,32]]`: name, dtype, shape; the bytes are little-endian in C order. The container in
    which arrays are kept has no part in it. A run without trained parameters has the digest of nothing.
    """
    digest = hashlib.sha256()
    for name in sorted(parameters):
        array = portable(parameters[name])
        head = json.dumps([name, array.dtype.str, list(array.shape)], ensure_ascii=False, separators=(",", ":"))
        digest.update(head.encode() + b"\n")
        digest.update(array.tobytes())
    return digest.hexdigest()
