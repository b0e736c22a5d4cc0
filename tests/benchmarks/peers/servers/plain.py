"""The plain loop that people write first: an upload, decoded and run in the framework's thread pool, one by one."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, File, UploadFile

from tests.benchmarks.peers.servers.model import Model, configuration

told = configuration()
model = Model(told["bundle"], intra_op_threads=told["intra_op_threads"], spinning=told["spinning"])
app = FastAPI()


@app.get("/health")
def health() -> str:
    return "ok"


@app.post("/predict")
def predict(file: UploadFile = File()) -> dict[str, Any]:  # noqa: B008
    return model.run([model.decode(file.file.read())])[0]
