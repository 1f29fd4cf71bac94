"""Image, compose file and Kubernetes template: what can be checked without an engine or a cluster."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jsonschema
import pytest
import yaml
from cryptography.fernet import Fernet
from prefect.settings import Settings

from prefect_genvideo.listen import read_config
from tests.fixtures.prefect import PrefectServer

DEPLOYMENTS = Path(__file__).resolve().parents[2] / "deployments"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
TEMPLATE: dict[str, Any] = json.loads((DEPLOYMENTS / "kubernetes/base-job-template.json").read_text())
DOCKERFILE = (DEPLOYMENTS / "Dockerfile").read_text()

#: An exact version, or the second of a release; a digest may follow. `16`, `3-latest` and `stable` move.
EXACT = r"(?:\d+\.\d+(?:\.\d+)?(?:-[a-z-]+)?|RELEASE\.\d{4}-\d\d-\d\dT[\d-]+Z)(?:@sha256:[0-9a-f]{64})?"

#: Settings of integrations are not Prefect's own; these two packages define them. The key is read apart from settings.
FOREIGN = ("PREFECT_INTEGRATIONS_GENVIDEO_", "PREFECT_REDIS_", "PREFECT_SERVER_ENCRYPTION_KEY")


def setting_names(model: Any = Settings) -> set[str]:
    """Every environment variable that Prefect reads."""
    prefix = str(model.model_config.get("env_prefix", "")).upper()
    found: set[str] = set()
    for name, field in model.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            found |= setting_names(field.annotation)
        aliases = getattr(field.validation_alias, "choices", [])
        found |= {str(alias).upper() for alias in aliases if isinstance(alias, str)} | {f"{prefix}{name}".upper()}
    return found


def environments() -> dict[str, dict[str, Any]]:
    """The variables of every service and of the job template."""
    found = {name: service.get("environment", {}) for name, service in COMPOSE["services"].items()}
    return found | {"kubernetes": TEMPLATE["variables"]["properties"]["env"]["default"]}


@pytest.mark.parametrize("service", environments())
def test_every_variable_is_a_setting_that_exists(service: str) -> None:
    """A misspelt one is ignored in silence: the installation would run with its defaults."""
    known = setting_names()
    for name in environments()[service]:
        if name.startswith("PREFECT_") and not name.startswith(FOREIGN):
            assert name in known
        if name.startswith("PREFECT_INTEGRATIONS_GENVIDEO_"):
            from prefect_genvideo.settings import GenVideoSettings

            assert name.removeprefix("PREFECT_INTEGRATIONS_GENVIDEO_").lower() in GenVideoSettings.model_fields


def test_the_installation_has_the_parts_that_scale_apart_from_each_other() -> None:
    """Postgres, Redis, API replicas without services, the services alone, two workers, S3, simulator."""
    services = COMPOSE["services"]
    assert "--no-services" in services["server"]["command"]
    assert services["services"]["command"] == ["prefect", "server", "services", "start"]
    assert services["server"]["deploy"]["replicas"] == services["worker"]["deploy"]["replicas"] == 2
    assert {"postgres", "redis", "s3", "simulator"} <= set(services)
    shared = services["server"]["environment"]
    for setting in ("MESSAGING_BROKER", "MESSAGING_CACHE", "SERVER_EVENTS_CAUSAL_ORDERING", "SERVER_DOCKET_URL"):
        assert "redis" in shared[f"PREFECT_{setting}"], "two replicas must share what one would keep in memory"
    assert services["services"]["environment"] == shared


def test_the_event_door_keeps_its_queue_where_it_outlives_the_container() -> None:
    """On a volume whose folder belongs to the image's user, and one process alone."""
    door = COMPOSE["services"]["listen"]
    queue = Path(door["command"][door["command"].index("--queue") + 1])
    assert [volume.partition(":")[2] for volume in door["volumes"]] == [str(queue.parent)]
    assert re.search(rf"install .*--owner 10001 .*{queue.parent}$", DOCKERFILE, re.MULTILINE)
    assert "replicas" not in door.get("deploy", {})
    lines = (DEPLOYMENTS / "simulator.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(read_config(None, given)[1]) == {"webhook", "s3"}


def test_services_wait_for_what_they_need_and_that_exists() -> None:
    """Who waits for a healthy service needs one that tells; images are pinned; nothing is open to the network."""
    services = COMPOSE["services"]
    # Only what ends by itself, and the background services, which listen nowhere, tell nothing.
    silent = {name for name, service in services.items() if "healthcheck" not in service}
    assert silent == {"migrate", "setup", "services"}
    assert "--with-healthcheck" in services["worker"]["command"]
    for service in services.values():
        for needed, condition in service.get("depends_on", {}).items():
            assert condition["condition"] != "service_healthy" or "healthcheck" in services[needed]
        assert re.fullmatch(rf"genvideo:local|[a-z/]+:{EXACT}", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        mounted = [volume.partition(":")[0] for volume in service.get("volumes", [])]
        assert set(mounted) <= set(COMPOSE["volumes"])


@pytest.mark.parametrize(
    "tag", ["16", "latest", "3-latest", "16.10-latest@sha256:0", "7-bookworm", "stable", "RELEASE"]
)
def test_a_tag_that_moves_is_no_version(tag: str) -> None:
    """What the test above would not see."""
    assert not re.fullmatch(EXACT, tag)


def test_the_image_is_pinned_unprivileged_and_installs_only_from_its_lock() -> None:
    """Two stages; what builds stays behind."""
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(stages) == 2
    assert all(re.fullmatch(rf"python:{EXACT}", stage) for stage in stages)
    installs = re.findall(r"pip install (.*)", DOCKERFILE)
    assert all("--no-deps" in install for install in installs)
    assert "--require-hashes" in installs[0]
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == ["10001"]
    for copied in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((DEPLOYMENTS.parent / name).exists() for name in copied.split())


def test_the_images_lock_has_the_bounds_and_a_hash_for_every_pin() -> None:
    """The bounds are proved limits of Prefect 3.8; addresses of any index have no place in a lock."""
    text = (DEPLOYMENTS / "requirements.lock").read_text()
    found: list[tuple[str, str]] = re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    pins = dict(found)
    assert len(found) == len(re.findall(r"==[^\n]*\\\n\s+--hash=sha256:", text))
    assert "://" not in text
    numbers = {name: tuple(map(int, pins[name].split(".")[:2])) for name in ("fastapi", "sqlalchemy", "prefect")}
    assert numbers["fastapi"] < (0, 151)
    assert numbers["sqlalchemy"] < (2, 1)
    assert numbers["prefect"] == (3, 8)
    # The demo brings an S3 server of its own, prefect-aws and Parquet are choices; all else an image may need.
    needed = importlib.metadata.requires("prefect-genvideo") or []
    lines = [line for line in needed if not re.search(r"demo|aws|finops", line)]
    wanted = {re.split(r"[^\w-]", line)[0].lower() for line in lines}
    assert {name.replace("_", "-") for name in wanted} - {"prefect-genvideo"} <= set(pins)
    assert not {"pytest", "pyright", "moto"} & set(pins), "the image is for running"


def test_the_job_template_takes_its_own_defaults() -> None:
    """Defaults fit the schema they are in, and every placeholder has a variable."""
    variables = TEMPLATE["variables"]
    defaults = {name: known["default"] for name, known in variables["properties"].items() if "default" in known}
    jsonschema.validate(defaults, variables)
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(TEMPLATE["job_configuration"])))
    assert used == set(variables["properties"])


def test_a_job_asks_for_resources_has_no_privileges_and_refers_to_its_secrets() -> None:
    """Secrets are named, never written down: a template is readable for everybody who can see the pool."""
    pod = TEMPLATE["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    box = pod["containers"][0]
    assert box["envFrom"] == [{"secretRef": {"name": "{{ secret_name }}", "optional": True}}]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert box["securityContext"]["allowPrivilegeEscalation"] is False
    assert box["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["automountServiceAccountToken"] is False
    mounted = {mount["mountPath"]: mount["name"] for mount in box["volumeMounts"]}
    home = TEMPLATE["variables"]["properties"]["env"]["default"]["PREFECT_HOME"]
    assert mounted == {"/tmp": pod["volumes"][0]["name"]}
    assert home.startswith("/tmp/")
    known = TEMPLATE["variables"]["properties"]
    assert all(known[name]["default"] for name in ("cpu_request", "cpu_limit", "memory_request", "memory_limit"))


def references(text: str) -> set[tuple[str, str]]:
    """Name and what follows it, of every `${NAME…}` of a compose file."""
    return set(re.findall(r"\$\{(\w+)(:[^}]*)?\}", text))


def test_no_secret_has_a_default_and_the_simulators_values_are_complete() -> None:
    """A password that stands in a file of this project is everybody's: Compose stops where one is not set."""
    asked = references((DEPLOYMENTS / "compose.yaml").read_text())
    needed = {name for name, rest in asked if rest.startswith(":?")}
    secret = {name for name, _ in asked if re.search(r"PASSWORD|SECRET|KEY", name)}
    assert len(secret) >= 4
    assert secret <= needed
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|KEY|AUTH", name):
                assert str(value).startswith("${")
    lines = (DEPLOYMENTS / "simulator.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(given) == needed
    Fernet(given["PREFECT_SERVER_ENCRYPTION_KEY"])


def test_values_of_an_installation_are_in_neither_git_nor_the_image(tmp_path: Path) -> None:
    """`deployments/.env` lies beside what both take."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("git says what it ignores")
    shutil.copy(DEPLOYMENTS.parent / ".gitignore", tmp_path)
    subprocess.run([git, "init", "-q", tmp_path], check=True)
    for name, ignored in {"deployments/.env": True, ".env.local": True, "deployments/simulator.env": False}.items():
        done = subprocess.run([git, "-C", tmp_path, "check-ignore", "-q", name], check=False)
        assert (done.returncode == 0) is ignored, name
    patterns = (DEPLOYMENTS / "Dockerfile.dockerignore").read_text().splitlines()
    assert "**/.env" in patterns[patterns.index("!deployments") :], "the last pattern that fits counts"


def test_redis_asks_for_a_password() -> None:
    """Whoever reached it without one could send the server messages of their own."""
    redis, server = COMPOSE["services"]["redis"], COMPOSE["services"]["server"]["environment"]
    assert "requirepass" in " ".join(redis["command"])
    assert server["PREFECT_REDIS_MESSAGING_PASSWORD"] in server["PREFECT_SERVER_DOCKET_URL"]


@pytest.mark.prefect
def test_the_server_accepts_the_job_template(prefect_server: PrefectServer) -> None:
    """`prefect work-pool create --type kubernetes --base-job-template` posts exactly this."""
    pool = {"name": f"kubernetes-{uuid4().hex[:8]}", "type": "kubernetes", "base_job_template": TEMPLATE}
    answer = httpx.post(f"{prefect_server.api_url}/work_pools/", json=pool, timeout=60)
    assert answer.status_code == 201, answer.text
    broken = {**TEMPLATE, "job_configuration": {"image": "{{ no_such_variable }}"}}
    pool = {**pool, "name": f"{pool['name']}-broken", "base_job_template": broken}
    answer = httpx.post(f"{prefect_server.api_url}/work_pools/", json=pool, timeout=60)
    assert answer.status_code == 422
