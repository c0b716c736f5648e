"""The manifests in kubernetes/ by the schemas of Kubernetes and of the Flink Kubernetes Operator, and beside docker-compose.yml."""

import json
import re
import shlex
import sysconfig
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from smartmeter.settings import ROOT

KUBERNETES = ROOT / "kubernetes"
VERSION = "1.34"
IMAGE = "smart-meter-watchdog"
SPEC = yaml.safe_load((ROOT / "tests" / "kubernetes" / "flinkdeployment-1.15.0.yaml").read_text())
SERVICES = ("sink", "dashboard", "notify", "gateway", "topics")
"""What is a service of docker-compose.yml too, beside Flink."""
ONLY_HERE = {"SMW_HOME": "/tmp/smw", "HOME": "/tmp"}
"""Variables that a read-only root needs."""


def kustomization(folder: Path = KUBERNETES) -> dict:
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


@cache
def objects() -> dict[tuple[str, str], dict]:
    """(kind, name) -> the object, of all folders."""
    files = [
        folder / file
        for folder in (KUBERNETES, KUBERNETES / "notify", KUBERNETES / "gateway")
        for file in kustomization(folder)["resources"]
    ]
    found = [item for file in files for item in yaml.safe_load_all(file.read_text())]
    return {(item["kind"], item["metadata"]["name"]): item for item in found}


def pod_of(item: dict) -> dict:
    """The spec of an object's pods."""
    return (item["spec"].get("template") or item["spec"]["podTemplate"])["spec"]


PODS = {name: pod_of(item) for (kind, name), item in objects().items() if kind in ("Deployment", "Job", "FlinkDeployment")}


def settings() -> dict[str, str]:
    [literals] = [one["literals"] for one in kustomization()["configMapGenerator"]]
    return dict(literal.split("=", 1) for literal in literals)


def passwords() -> list[str]:
    return re.findall(r"^(\w+)=$", (KUBERNETES / "passwords.env.example").read_text(), re.MULTILINE)


@cache
def compose() -> dict[str, dict]:
    """The services of docker-compose.yml, with the defaults of their variables."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "docker-compose.yml").read_text())
    return yaml.safe_load(text)["services"]


@pytest.mark.parametrize("kind, name", [key for key in objects() if key[0] != "FlinkDeployment"])
def test_objects_fit_kubernetes_schemas(kind, name):
    kubernetes_validate.validate(objects()[kind, name], VERSION, strict=True)


def test_the_job_fits_the_operators_schema():
    job = objects()["FlinkDeployment", "pipeline"]
    assert job["apiVersion"] == "flink.apache.org/v1beta1"
    Draft202012Validator(SPEC).validate(job["spec"])
    template = {"metadata": {"labels": {"app": "pipeline"}}, **job["spec"]["podTemplate"]}
    as_deployment = {"selector": {"matchLabels": {"app": "pipeline"}}, "template": template}
    for container in template["spec"]["containers"]:
        assert container["name"] == "flink-main-container"
    kubernetes_validate.validate(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "pipeline"}, "spec": as_deployment}, VERSION, strict=True
    )


def test_a_mistake_does_not_fit():
    job = json.loads(json.dumps(objects()["FlinkDeployment", "pipeline"]["spec"]))
    job["job"]["upgradeMod"] = "savepoint"
    assert [error.message for error in Draft202012Validator(SPEC).iter_errors(job)]
    sink = json.loads(json.dumps(objects()["Deployment", "sink"]))
    sink["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(sink, VERSION, strict=True)


@pytest.mark.parametrize("name", PODS)
def test_containers_have_no_rights(name):
    pod = PODS[name]
    [container] = pod["containers"]
    assert pod["securityContext"] | {"runAsGroup": 0, "fsGroup": 0} == {
        "runAsNonRoot": True,
        "runAsUser": int(re.search(r"^USER (\d+)$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)[1]),
        "runAsGroup": 0,
        "fsGroup": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["enableServiceLinks"] is False and {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    if name != "pipeline":
        assert pod["automountServiceAccountToken"] is False and set(container["resources"]["limits"]) == {"cpu", "memory"}


@pytest.mark.parametrize("name", PODS)
def test_all_that_a_pod_names_exists(name):
    pod = PODS[name]
    [container] = pod["containers"]
    generated = {
        one["name"]
        for folder in (KUBERNETES, KUBERNETES / "notify", KUBERNETES / "gateway")
        for kind in ("configMapGenerator", "secretGenerator")
        for one in kustomization(folder).get(kind, ())
    }
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    for volume in pod["volumes"]:
        claim, config, secret = (
            volume.get(kind, {}).get(key)
            for kind, key in (("persistentVolumeClaim", "claimName"), ("configMap", "name"), ("secret", "secretName"))
        )
        assert claim is None or ("PersistentVolumeClaim", claim) in objects()
        assert {config, secret} - {None} <= generated
    assert container["envFrom"] == [{"configMapRef": {"name": "settings"}}]
    for variable in container.get("env", ()):
        if secret := variable.get("valueFrom", {}).get("secretKeyRef"):
            assert secret == {"name": "passwords", "key": variable["name"]} and variable["name"] in passwords()


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_those_of_docker_compose(name):
    [container], of_compose = PODS[name]["containers"], compose()[name]
    variables = {one["name"]: one.get("value") for one in container.get("env", ())}
    others = {key: str(value) for key, value in of_compose["environment"].items() if key not in passwords()}
    assert settings() | {key: value for key, value in variables.items() if value is not None} == others | {
        key: value for key, value in ONLY_HERE.items() if key in settings() or key in variables
    }
    assert {key for key, value in variables.items() if value is None} == set(of_compose["environment"]).intersection(passwords())
    assert container["image"] == IMAGE == of_compose["image"].split(":")[0]
    assert container["args"] == shlex.split(of_compose["command"])
    assert container["resources"]["limits"]["memory"].lower().removesuffix("i") == of_compose["mem_limit"].lower()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe") if name != "topics" else ():
        assert container[probe]["exec"]["command"] == ["python", "docker/health.py"] and "healthcheck" not in of_compose


def test_what_is_mounted_is_where_docker_compose_has_it():
    for name, own in (("notify", "/notify"), ("gateway", "/gateway"), ("gateway", "/spool")):
        assert own in {mount["mountPath"] for mount in PODS[name]["containers"][0]["volumeMounts"]}
        assert [volume for volume in compose()[name]["volumes"] if volume.split(":")[1] == own]


def test_flink_is_set_up_as_in_docker_compose():
    spec = objects()["FlinkDeployment", "pipeline"]["spec"]
    own, of_compose = spec["flinkConfiguration"], {}
    for service in ("jobmanager", "taskmanager"):
        of_compose |= dict(option.split("=", 1) for option in re.findall(r"-D ([\w.-]+=[^\s']+)", compose()[service]["command"]))
    shared = {
        key: value
        for key, value in of_compose.items()
        if key.startswith(("metrics", "taskmanager.memory", "taskmanager.load", "web.submit"))
    }
    assert len(shared) == 6 and own | shared == own
    assert own["taskmanager.numberOfTaskSlots"] == of_compose["taskmanager.numberOfTaskSlots"] == str(spec["job"]["parallelism"])
    assert spec["jobManager"]["resource"]["memory"] == of_compose["jobmanager.memory.process.size"]
    assert spec["taskManager"]["resource"]["memory"] == of_compose["taskmanager.memory.process.size"]
    assert settings()["SMW_PARALLELISM"] == str(spec["job"]["parallelism"])
    for service, name in (("jobmanager", "JM"), ("taskmanager", "TM")):
        assert own[f"env.java.opts.{service}"] == compose()[service]["environment"][f"FLINK_ENV_JAVA_OPTS_{name}"]
    assert settings()["SMW_CHECKPOINT_DIR"] == "file:///checkpoints" and spec["image"] == IMAGE


def test_the_jobs_program_is_in_the_image():
    job = objects()["FlinkDeployment", "pipeline"]["spec"]["job"]
    jar = job["jarURI"].removeprefix("local:///opt/flink/")
    assert (Path(sysconfig.get_path("purelib")) / "pyflink" / jar).is_file()
    assert (ROOT / job["args"][-1].removeprefix("/smw/")).is_file()
