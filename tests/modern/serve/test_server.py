"""What a client sees of a real server process."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from modern.__main__ import main
from modern.serve.question import json_from_record
from replay.adapters.open_inference import ServedStack, open_stack
from replay.errors import ArtifactError, StackError, WorkerError
from replay.logs.writing import write_day
from replay.request import RequestBatch
from tests.modern.serve.served import (
    SCHEMA,
    PricedStack,
    Server,
    batch_of,
    logged_batch,
    serving,
)

OUTPUTS = {"logit", "pctr", "ecpm_micros", "rank"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("logs")
    batch = logged_batch(8)
    write_day(root, date(2019, 11, 30), [pa.Table.from_batches([batch.records])], schema=SCHEMA)
    return root


@pytest.fixture(scope="module")
def server(log: Path) -> Iterator[Server]:
    with serving("--like", str(log), "--probe", "--deadline-ms", "5000") as server:
        yield server


def json_body(batch: RequestBatch, **more: Any) -> dict[str, Any]:
    data = [json_from_record(record).decode() for record in batch.records.to_pylist()]
    tensor = {"name": "request_json", "datatype": "BYTES", "shape": [len(data)], "data": data}
    return {"inputs": [tensor], **more}


def opened(server: Server) -> ServedStack:
    return open_stack(url=server.url, model="toy", retry_s=5)


def test_without_a_stack_named_the_transformer_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--artifact", str(tmp_path / "nowhere")]) == 2
    assert "ArtifactError" in capsys.readouterr().err


def test_health_and_metadata_are_the_protocol_s(server: Server) -> None:
    assert server.ask("/v2/health/live")[0] == 200
    assert server.ask("/v2/health/ready")[0] == 200
    assert server.ask("/v2/models/toy/ready")[0] == 200
    status, _, data = server.ask("/v2/models/toy")
    metadata = json.loads(data)

    assert status == 200 and metadata["name"] == "toy"
    assert {one["name"] for one in metadata["inputs"]} == {"request_json", "request_arrow"}
    assert set(metadata["outputs"][0]) == {"name", "datatype", "shape"}
    assert {one["name"] for one in metadata["outputs"]} > OUTPUTS
    assert json.loads(server.ask("/v2")[2])["extensions"] == ["binary_tensor_data"]
    version = metadata["versions"][0]
    assert server.ask(f"/v2/models/toy/versions/{version}")[0] == 200


def test_json_requests_are_answered_with_what_the_stack_computes(server: Server) -> None:
    batch = logged_batch(3, seed=4)

    status, answer = server.infer(json_body(batch, id="q-1"))

    assert status == 200 and answer["id"] == "q-1" and answer["model_name"] == "toy"
    found = {one["name"]: one["data"] for one in answer["outputs"]}
    expected = PricedStack().score(batch, capture=OUTPUTS)
    assert found["candidate_offsets"] == batch.keys.candidate_offsets.tolist()
    for name in OUTPUTS:
        assert found[name] == expected[name].tolist()


def test_a_replay_s_stack_sees_every_checkpoint_bit_for_bit_and_may_give_them(
    server: Server,
) -> None:
    served, own, batch = opened(server), PricedStack(), logged_batch(80, seed=9)

    found = served.score(batch, capture=list(own.checkpoints))
    expected = own.score(batch, capture=list(own.checkpoints))
    given = {"left": expected["left"] + np.float32(1)}
    repaired = served.score(batch, capture=["logit"], given=given)

    assert list(served.checkpoints) == list(own.checkpoints)
    for name in own.checkpoints:
        assert found[name].tobytes() == expected[name].tobytes(), name
    same = own.score(batch, capture=["logit"], given=given)
    assert repaired["logit"].tobytes() == same["logit"].tobytes()
    assert served.identity().digest == own.identity().digest


def test_requests_of_many_clients_are_scored_together_and_told_apart(log: Path) -> None:
    batches = [logged_batch(2, seed=seed) for seed in range(24)]
    with serving(
        "--like", str(log), "--deadline-ms", "9000", "--options", '{"base_ms": 60}'
    ) as server:
        with ThreadPoolExecutor(24) as threads:
            answers = list(threads.map(lambda b: server.infer(json_body(b)), batches))
        page = server.ask("/metrics")[2].decode()

    for batch, (status, answer) in zip(batches, answers, strict=True):
        expected = PricedStack().score(batch, capture=["logit"])["logit"].tolist()
        assert status == 200
        assert next(o["data"] for o in answer["outputs"] if o["name"] == "logit") == expected
    count = next(x for x in page.splitlines() if x.startswith("serve_batch_requests_count"))
    assert float(count.split()[1]) < 24 / 2, "one batch of 60 ms each would take 1.4 s"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "no JSON"),
        ({"inputs": []}, 400, "send one BYTES tensor"),
        (json_body(logged_batch(1), outputs=[{"name": "nonsense"}]), 400, "no output 'nonsense'"),
        (json_body(logged_batch(1), id=7), 400, "'id' is 7"),
        (
            {
                "inputs": [
                    {"name": "request_json", "datatype": "BYTES", "shape": [1], "data": ["{"]}
                ]
            },
            400,
            "a logged request can not be read",
        ),
        (
            {
                "inputs": [
                    {"name": "request_arrow", "datatype": "BYTES", "shape": [1], "data": ["x"]}
                ]
            },
            400,
            "no Arrow stream",
        ),
    ],
)
def test_what_is_wrong_with_a_request_is_said(
    server: Server, body: Any, status: int, says: str
) -> None:
    found, answer = server.infer(body)

    assert found == status
    assert says in answer["error"]


def test_a_request_that_breaks_a_rule_of_logs_is_refused_with_the_reason(server: Server) -> None:
    record = logged_batch(1).records.to_pylist()[0]
    record["candidates"].append(record["candidates"][0])
    twice = json_body(batch_of(record))

    status, answer = server.infer(twice)

    assert status == 400
    assert "duplicate_ad_id" in answer["error"]


def test_a_request_that_the_stack_fails_on_does_not_fail_the_others(log: Path) -> None:
    poisoned = batch_of({**logged_batch(1).records.to_pylist()[0], "request_id": "poison"})
    batches = [*(logged_batch(1, seed=seed) for seed in range(8)), poisoned]
    with (
        serving("--like", str(log), "--deadline-ms", "9000", "--max-wait-ms", "300") as server,
        ThreadPoolExecutor(9) as threads,
    ):
        answers = list(threads.map(lambda b: server.infer(json_body(b)), batches))

    assert [status for status, _ in answers] == [200] * 8 + [500]
    assert answers[-1][1] == {"error": "the server failed: RuntimeError"}


def test_wrong_paths_methods_and_headers_are_refused(server: Server) -> None:
    good = json.dumps(json_body(logged_batch(1))).encode()
    path = "/v2/models/toy/infer"

    assert server.ask("/v2/models/other")[0] == 404
    assert server.ask("/v2/models/toy/versions/1/infer", good)[0] == 404
    assert server.ask(path)[0] == 405
    assert server.ask(path, good, {"X-Deadline-Ms": "-1"})[0] == 400
    assert server.ask(path, good, {"Inference-Header-Content-Length": "-1"})[0] == 400
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", str(2**40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_sigterm_lets_no_request_go_without_its_answer(log: Path) -> None:
    batch = logged_batch(1)
    with serving(
        "--like", str(log), "--deadline-ms", "9000", "--options", '{"base_ms": 700}'
    ) as server:
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(server.infer, json_body(batch))
            until_batch_runs(server)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            ready = server.ask("/v2/health/ready")[0]
            status, _ = waiting.result()
        code = server.process.wait(20)

    assert (ready, status, code) == (503, 200, 0)


def test_a_client_hears_that_its_time_is_up_before_it_is_up(log: Path) -> None:
    with serving("--like", str(log), "--options", '{"base_ms": 9000}') as server:
        start = time.monotonic()
        status, _ = server.infer(json_body(logged_batch(1)), {"X-Deadline-Ms": "8000"})
        took = time.monotonic() - start

    assert status == 504
    assert took < 8.0


def until_batch_runs(server: Server) -> None:
    """Wait for the one request to be out of the queue and under the thread."""
    for _ in range(200):
        page = server.ask("/metrics")[2].decode()
        wait = next(x for x in page.splitlines() if x.startswith("serve_wait_seconds"))
        if float(wait.split()[1]) > 0:
            return
        time.sleep(0.01)


def test_nobody_there_and_another_artifact_are_errors_a_person_can_act_on(server: Server) -> None:
    with pytest.raises(WorkerError, match="no answer within"):
        open_stack(url="http://127.0.0.1:9", model="toy", retry_s=0.1)
    with pytest.raises(ArtifactError, match="no model is called 'other'"):
        open_stack(url=server.url, model="other", retry_s=1)
    served = opened(server)
    moved = ServedStack(
        name="toy",
        checkpoints=served.checkpoints,
        client=served.client,
        who=PricedStack(inner="elsewhere").identity(),
    )
    with pytest.raises(ArtifactError, match="when the replay began"):
        moved.score(logged_batch(1), capture=["logit"])


def test_a_server_without_probe_shows_outputs_alone(log: Path) -> None:
    batch = logged_batch(2)
    with serving("--deadline-ms", "5000") as server:
        served = opened(server)
        status, answer = server.infer(json_body(batch))

        assert set(served.checkpoints) == OUTPUTS
        assert status == 400 and "--like" in answer["error"]
        with pytest.raises(StackError, match="can not be given"):
            served.score(
                batch, capture=["pctr"], given={"logit": np.zeros(batch.num_candidates, "f4")}
            )
