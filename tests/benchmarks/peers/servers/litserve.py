"""LitServe: `decode_request` makes pixels of a request, `predict` runs a batch, in worker processes."""

import base64
from typing import Any

import litserve
from fastapi import Request

from tests.benchmarks.peers.servers.model import Model, Pixels, configuration


class GuardAPI(litserve.LitAPI):
    def setup(self, device: str) -> None:
        told = configuration()
        self.model = Model(told["bundle"], intra_op_threads=told["intra_op_threads"])

    def decode_request(self, request: Request) -> Pixels:
        content = request["file"]
        return self.model.decode(base64.b64decode(content) if isinstance(content, str) else content.file.read())

    def predict(self, images: Any) -> Any:
        is_batch = images.ndim == 4
        answers = self.model.run(images if is_batch else images[None])
        return answers if is_batch else answers[0]

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    told = configuration()
    server = litserve.LitServer(
        GuardAPI(max_batch_size=told["max_batch_size"], batch_timeout=told["batch_timeout_seconds"]),
        accelerator="cpu",
        workers_per_device=told["workers"],
        fast_queue=told["fast_queue"],
    )
    server.run(
        host="127.0.0.1",
        port=told["port"],
        num_api_servers=told["api_servers"],
        log_level="warning",
        generate_client_file=False,
    )
