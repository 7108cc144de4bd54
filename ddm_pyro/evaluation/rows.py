"""Rows: one JSON line a metric, appended by one process, read back with suspicion."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from ddm_pyro.evaluation.errors import RowsError

ROWS = "rows.jsonl"

#: Every key of a row, with what it holds.
ROW_FIELDS: Mapping[str, str] = {
    "row_key": "hash of everything the row depends on",
    "sample_key": "hash of everything the drawn law depends on; samples/<key>.safetensors holds it",
    "train_key": "hash of everything the model depends on; models/<key>.safetensors holds trained ones",
    "schema_version": "version of these keys",
    "experiment": "label of the experiment",
    **{
        f"{part}{suffix}": f"{part}: {what}"
        for part in ("target", "rate", "schedule", "parameterization", "loss", "sampler", "metric")
        for suffix, what in (
            ("", "id (samplers in a row: joined by +); null for a loss that is not needed"),
            ("_params", "parameters as given"),
            ("_version", "component version"),
            ("_dist", "distribution and version that provides it; null for this process's own"),
        )
    },
    "network": "kind and parameters of the network; null for models made from the target",
    "train": "training settings; null likewise",
    "steps": "steps taken: the budget, or the number the sampler fixes itself",
    "nfe": "network rows evaluated per sample, measured",
    "calls": "network calls a batch of 256 samples, measured",
    "value": "the estimate",
    "kind": "exact | unbiased | upper_biased | lower",
    "lcb": "lower limit at the plan's confidence",
    "ucb": "upper limit",
    "stderr": "standard error",
    "null_mean": "mean of the estimate if both laws were equal",
    "method": "how law and value were computed",
    "n": "rows of the sampler's law that were used; null when it is exact",
    "floor": "the same metric between an independent reference sample of the same size and the reference",
    "confidence": "level of the limits",
    "extra": "further numbers of the estimate",
    "bound": "the smallest certificate, on this metric's scale",
    "bound_id": "which; of core/best, the certificate that won",
    "bound_terms": "its terms",
    "hypotheses": "its hypotheses",
    "bounds": "every certificate that was asked for",
    "holds": "lcb <= bound; null without one of them, or when hypotheses are violated",
    "ratio": "value / bound",
    "status": "ok | skipped | error | timeout",
    "stage": "where it ended: load | model | train | sample | metric | bound; null when ok",
    "reason": "why there is no value, or why the law was sampled although it is small",
    "error": "type of the exception",
    "traceback_hash": "equal faults have equal hashes",
    "plugin": "plugins whose components took part in an error",
    "seconds": "of this metric",
    "sample_seconds": "of computing or drawing the law",
    "train_seconds": "of the training",
    "seed": "the plan's seed",
    "repetition": "counts from 0",
}
#: Numbers that may be infinite: written as strings, read back as floats.
NUMBERS = (
    *("value", "lcb", "ucb", "stderr", "null_mean", "floor", "bound", "ratio"),
    *("seconds", "sample_seconds", "train_seconds", "nfe", "calls"),
)
NESTED = ("extra", "bound_terms", "bounds")
_WORDS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def encode(row: Mapping[str, Any]) -> str:
    """One line of strict JSON; inf, -inf and nan become the strings "inf", "-inf", "nan".

    Example:
        >>> encode({"value": float("inf"), "n": 3})
        '{"value": "inf", "n": 3}'
    """
    return json.dumps(_words(row), allow_nan=False, ensure_ascii=False)


def decode(line: str) -> dict[str, Any]:
    """The row of a line, infinities restored where a row holds numbers; ValueError when it is no row.

    Example:
        >>> decode('{"value": "inf", "reason": "inf"}')
        {'value': inf, 'reason': 'inf'}
    """
    row = json.loads(line, parse_constant=_refuse)
    if not isinstance(row, dict):
        raise ValueError(f"{line.strip()[:40]!r} is no JSON object")
    for key in NUMBERS:
        if isinstance(row.get(key), str):
            row[key] = _WORDS[row[key]] if row[key] in _WORDS else _refuse(row[key])
    for key in NESTED:
        if row.get(key):
            row[key] = _numbers(row[key])
    return row


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a run's directory (or of a file of rows): the last of each key, in the order of first mention.

    A last line without its end, left by an interruption, is left out.

    Raises:
        RowsError: no such file, or a corrupt line, named by number.
    """
    path = Path(path)
    file = path / ROWS if path.is_dir() else path
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise RowsError(
            f"{str(file)!r} cannot be read: {error.strerror or error}; name the directory of a run."
        ) from None
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines[:-1], 1):
        if not line.strip():
            continue
        try:
            row = decode(line.decode("utf-8"))
            rows[str(row["row_key"])] = row
        except KeyError:
            raise RowsError(f"{file}:{number} has no row_key; delete the line, and run the plan again.") from None
        except ValueError as error:
            raise RowsError(f"{file}:{number} is no row ({error}); delete the line, and run the plan again.") from None
    return list(rows.values())


class RowLog:
    """Appends rows to a file, each batch on disk before the next; a torn last line is cut off first.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with RowLog(Path(folder) / ROWS) as log:
        ...         log.append([{"row_key": "a", "value": float("inf")}])
        ...     [row["value"] for row in read_rows(folder)]
        [inf]
    """

    def __init__(self, file: Path) -> None:
        file.touch()
        self._stream = file.open("r+b")
        _lock(self._stream, file)
        self._stream.truncate(self._whole_lines())
        self._stream.seek(0, os.SEEK_END)

    def _whole_lines(self) -> int:
        return self._stream.read().rfind(b"\n") + 1

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the rows and wait until they are on disk."""
        self._stream.write("".join(f"{encode(row)}\n" for row in rows).encode())
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Let another writer at the file."""
        self._stream.close()

    def __enter__(self) -> RowLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()


def _lock(stream: IO[bytes], file: Path) -> None:
    """One writer a file, where the system can tell; released when the stream is closed."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise RowsError(f"Another evaluation is writing to {file}; wait for it, or choose another directory.") from None


def _words(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {str(key): _words(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_words(one) for one in value]
    return value


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return _WORDS.get(value, value) if isinstance(value, str) else value


def _refuse(word: str) -> Any:
    raise ValueError(f"{word!r} is no number in JSON")
