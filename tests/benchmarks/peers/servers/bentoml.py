"""BentoML: a service whose one method is batched adaptively."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bentoml

from tests.benchmarks.peers.servers.model import Model, configuration

told = configuration()


@bentoml.service(
    workers=told["workers"],
    logging={"access": {"enabled": False}},
    traffic={"timeout": 60},
)
class Guard:
    def __init__(self) -> None:
        self.model = Model(told["bundle"], intra_op_threads=told["intra_op_threads"])
        self.decoders = ThreadPoolExecutor(told["decode_threads"])

    def answers(self, encoded: list[bytes]) -> list[dict[str, Any]]:
        return self.model.run(list(self.decoders.map(self.model.decode, encoded)))

    @bentoml.api(batchable=True, max_batch_size=told["max_batch_size"], max_latency_ms=told["max_latency_ms"])
    def files(self, images: list[Path]) -> list[dict[str, Any]]:
        return self.answers([image.read_bytes() for image in images])

    @bentoml.api(batchable=True, max_batch_size=told["max_batch_size"], max_latency_ms=told["max_latency_ms"])
    def encoded(self, images: list[str]) -> list[dict[str, Any]]:
        return self.answers([base64.b64decode(image) for image in images])

    @bentoml.api
    def alone(self, image: Path) -> dict[str, Any]:
        return self.answers([image.read_bytes()])[0]
