"""The files for clusters: they parse, and every command in them is one that exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from typer.main import get_command

from explorer.cli import app

DEPLOY = ROOT / "deploy"
FILES = sorted(p for p in DEPLOY.iterdir() if p.suffix in (".sh", ".yaml"))


def commands(file: Path, program: str) -> list[list[str]]:
    """Arguments of each call of a program, in commands and in comments that show one."""
    text = re.sub(r"\\\n#?", " ", file.read_text())
    found = []
    for match in re.finditer(rf"(?:^|[\s'\"])(?:{program}) ([a-z][^\n]*)", text):
        line = re.sub(r"(?<!\S)#.*", "", match[1])
        if line.count("'") % 2:  # the command is the inside of a quoted one
            line = line.replace("'", "")
        found.append(shlex.split(line))
    return found


def checked(command: Any, words: list[str]) -> None:
    """That the words are a subcommand with options that it has."""
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"{words[0]} is no command"
        command, words = command.commands[words[0]], words[1:]
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    if "--" in words:
        words = words[: words.index("--")]
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{command.name} has no option {word}"


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.name)
def test_calls_of_explorer_are_right(file: Path) -> None:
    calls = commands(file, r"run_explore\.py|explorer")
    calls = [words for words in calls if words[0] in ("run", "resume")]
    assert calls
    for words in calls:
        checked(get_command(app), words)


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.name)
def test_calls_of_ray_are_right(file: Path) -> None:
    from ray.scripts.scripts import cli

    calls = [words for words in commands(file, "ray") if words[0] in cli.commands]
    assert calls or file.name == "rayjob.yaml"
    for words in calls:
        if words[0] == "symmetric-run":  # what it does not know itself goes to `ray start`
            start = {option for p in cli.commands["start"].params for option in p.opts}
            words = [word for word in words if word not in start - {"--address"}]
        checked(cli, words)


def test_ray_up_accepts_the_cluster() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text()))
    validate_config(config)
    assert config["head_node_type"] in config["available_node_types"]
    with pytest.raises(Exception, match="Additional properties"):
        validate_config({**config, "workers_at_most": 3})


def test_the_job_of_kuberay_has_known_fields_only() -> None:
    job = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert set(spec) == {
        "entrypoint",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "rayClusterSpec",
    }
    cluster = spec["rayClusterSpec"]
    assert set(cluster) == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    assert f"ray=={cluster['rayVersion']}" in (ROOT / "constraints.txt").read_text().splitlines()
    assert f"rayproject/ray:{cluster['rayVersion']}-" in (DEPLOY / "Dockerfile").read_text()
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    scaling = {"groupName", "replicas", "minReplicas", "maxReplicas"}
    for group in groups:
        assert set(group) - scaling == {"rayStartParams", "template"}
        for container in group["template"]["spec"]["containers"]:
            assert set(container) == {"name", "image", "envFrom", "resources"}
            assert container["resources"]["requests"] == container["resources"]["limits"]


@pytest.mark.parametrize("name", ["slurm.sh", "submit.sh"])
def test_scripts_are_bash(name: str) -> None:
    done = subprocess.run(["bash", "-n", str(DEPLOY / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_does_not_exist_is_found() -> None:
    with pytest.raises(AssertionError, match="no option --nowhere"):
        checked(get_command(app), ["run", "x.yaml", "--nowhere", "y"])
    with pytest.raises(AssertionError, match="no command"):
        checked(get_command(app), ["sweep", "x.yaml"])
