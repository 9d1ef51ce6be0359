"""Hyperparameter sweeps from one YAML: with W&B's server, or locally with Optuna.

  python -m emo_lightning.training.sweep experiments/sweeps/stage1.yaml [--local] [key=value ...]

Without ``--local`` a W&B sweep and an agent start. Locally, trials run as processes, several at
once; a killed sweep continues where it stopped, each trial from its own checkpoint. The sweep's
folder gets ``results.csv``, ``parallel.png`` and the best trial's command in ``best.txt``.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import Progress
from emo_lightning.training.run_dir import METRICS, read_metrics

POLL_SECONDS = 0.5
DEFAULT_TRIALS = 20


@dataclass
class Running:
    """A trial's process, the metrics file that it writes, and the step reported last."""

    trial: Trial
    process: subprocess.Popen[bytes]
    metrics: Path
    step: int = -1


class LocalSweep:
    """Trials of one sweep file on this machine.

    Args:
        path: the sweep's YAML, in W&B's format.
        folder: of the journal and the results; trials write where the YAML's ``out`` says.
        trials: number of them; by default the YAML's ``run_cap``, or the size of its grid.
        extra: overrides for every trial.
    """

    def __init__(self, path: Path, folder: Path, trials: int | None, extra: Sequence[str]) -> None:
        self.sweep, self.folder, self.extra = read_sweep(path), folder, list(extra)
        self.parameters: Mapping[str, Any] = self.sweep["parameters"]
        self.metric, self.goal = self.sweep["metric"]["name"], self.sweep["metric"]["goal"]
        grid = grid_of(self.parameters) if self.sweep["method"] == "grid" else {}
        size = math.prod(len(values) for values in grid.values()) if grid else DEFAULT_TRIALS
        self.trials = trials or int(self.sweep.get("run_cap", size))
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.name = str(self.sweep.get("name", path.stem))
        self.storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=self.name,
            direction=self.goal,
            sampler=sampler_of(self.sweep),
            pruner=pruner_of(self.sweep),
            load_if_exists=True,
        )
        for values in itertools.product(*grid.values()) if grid else ():
            chosen = dict(zip(grid, values, strict=True))
            self.study.enqueue_trial(chosen, skip_if_exists=True)

    def run(self, parallel: int) -> FrozenTrial:
        """Run all trials, ``parallel`` at once; the best.

        Raises:
            UserError: no trial succeeded.
        """
        self.requeue_unfinished()
        finished = (TrialState.COMPLETE, TrialState.PRUNED)
        running: list[Running] = []
        with Progress("sweep", self.trials, "trials") as progress:
            done = len(self.study.get_trials(states=finished))
            if done:
                progress.reach(done, self.trials)
            left = max(self.trials - done, 0)
            while left or running:
                while left and len(running) < parallel:
                    running.append(self.start(self.study.ask()))
                    left -= 1
                time.sleep(POLL_SECONDS)
                for each in [each for each in running if self.watch(each)]:
                    running.remove(each)
                    progress.update()
        complete = self.study.get_trials(states=(TrialState.COMPLETE,))
        self.write_table()
        if not complete:
            place = self.folder / "logs"
            raise UserError("sweep", self.folder, f"see {place}", "has no trial that succeeded")
        best = self.study.best_trial
        if len(complete) > 1:
            self.plot()
        command = shlex.join(self.command(best.params, str(best.user_attrs["run_id"])))
        (self.folder / "best.txt").write_text(command + "\n", encoding="utf-8")
        print(f"best trial {best.number}: {self.metric} {best.value:.5g}\n{command}", flush=True)
        return best

    def requeue_unfinished(self) -> None:
        """Trials that a kill interrupted run again first, in their own folders."""
        for old in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.close(old.number, TrialState.FAIL)
            self.study.enqueue_trial(old.params, user_attrs=old.user_attrs)

    def start(self, trial: Trial) -> Running:
        """Choose the trial's values and start its process."""
        params = {name: suggest(trial, name, rule) for name, rule in self.parameters.items()}
        run_id = trial.user_attrs.get("run_id", f"trial-{trial.number}")
        trial.set_user_attr("run_id", run_id)
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        environment = {**os.environ, "EMO_RUN_ID": run_id}
        with open(logs / f"{run_id}.txt", "ab") as log:
            process = subprocess.Popen(
                self.command(params, run_id), stdout=log, stderr=log, env=environment
            )
        out = str(dict(word.split("=", 1) for word in self.words(params))["out"])
        return Running(trial, process, Path(out.replace("{run_id}", run_id)) / METRICS)

    def watch(self, running: Running) -> bool:
        """Report new validations, prune, and close the trial when its process has ended."""
        ended = running.process.poll()
        values = {}
        for step, name, value in read_metrics(running.metrics):
            if name == self.metric:
                values[step] = float(value)
        for step, value in values.items():
            if step > running.step:
                running.step = step
                running.trial.report(value, step)
        if ended is None:
            if running.step >= 0 and running.trial.should_prune():
                running.process.send_signal(signal.SIGTERM)
                running.process.wait()
                self.close(running.trial.number, TrialState.PRUNED)
                return True
            return False
        if ended == 0 and values:
            best = (min if self.goal == "minimize" else max)(values.values())
            self.close(running.trial.number, TrialState.COMPLETE, best)
        else:
            self.close(running.trial.number, TrialState.FAIL)
        return True

    def close(self, number: int, state: TrialState, value: float | None = None) -> None:
        """Record how a trial ended."""
        study = self.storage.get_study_id_from_name(self.name)
        trial = self.storage.get_trial_id_from_study_id_trial_number(study, number)
        self.storage.set_trial_state_values(trial, state, None if value is None else [value])

    def words(self, params: Mapping[str, Any]) -> list[str]:
        """Overrides of a trial."""
        fixed = {n: rule["value"] for n, rule in self.parameters.items() if "value" in rule}
        given = {**fixed, **params, "wandb.mode": "disabled"}
        words = [f"{name}={yaml_word(value)}" for name, value in given.items()]
        return [*words, *self.extra]

    def command(self, params: Mapping[str, Any], run_id: str) -> list[str]:
        """The process of a trial, as W&B's agent would build it."""
        argv = []
        for word in map(str, self.sweep["command"]):
            if word == "${args_no_hyphens}":
                argv += [text.replace("{run_id}", run_id) for text in self.words(params)]
            elif word == "${interpreter}":
                argv.append(sys.executable)
            elif word != "${env}":
                argv.append(word)
        return argv

    def write_table(self) -> None:
        """``results.csv``: one row per trial, the best first."""
        names = [name for name, rule in self.parameters.items() if "value" not in rule]
        worst = math.inf if self.goal == "minimize" else -math.inf
        trials = sorted(
            self.study.get_trials(),
            key=lambda t: worst if t.value is None else t.value,
            reverse=self.goal == "maximize",
        )
        with open(self.folder / "results.csv", "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["trial", "state", self.metric, *names])
            for t in trials:
                shown = "" if t.value is None else f"{t.value:.6g}"
                values = [t.params.get(name, "") for name in names]
                rows.writerow([t.number, t.state.name.lower(), shown, *values])

    def plot(self) -> None:
        """``parallel.png``: parallel coordinates of the finished trials."""
        import matplotlib

        matplotlib.use("Agg")
        axes = optuna.visualization.matplotlib.plot_parallel_coordinate(
            self.study, target_name=self.metric
        )
        axes.figure.set_size_inches(11, 5)
        axes.figure.savefig(self.folder / "parallel.png", dpi=100, bbox_inches="tight")


def read_sweep(path: Path) -> dict[str, Any]:
    """The sweep file; UserError where it is none."""
    accepted = "a sweep file, such as experiments/sweeps/stage1.yaml"
    try:
        sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError("SWEEP", path, accepted, f"cannot be read ({error})") from None
    missing = {"method", "metric", "parameters", "command"} - set(sweep or {})
    if missing:
        raise UserError("SWEEP", path, accepted, f"has no {', '.join(sorted(missing))}")
    return sweep


def grid_of(parameters: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Values of each varied parameter of a grid; UserError where one has a range."""
    ranges = [name for name, rule in parameters.items() if not {"value", "values"} & set(rule)]
    if ranges:
        raise UserError(ranges[0], "a range", "values: [...] with method: grid")
    return {name: rule["values"] for name, rule in parameters.items() if "values" in rule}


def sampler_of(sweep: Mapping[str, Any]) -> Any:
    """Optuna's sampler for W&B's method; a grid's trials are enqueued instead."""
    samplers = {
        "random": lambda: optuna.samplers.RandomSampler(seed=0),
        "grid": lambda: optuna.samplers.RandomSampler(seed=0),
        "bayes": lambda: optuna.samplers.TPESampler(seed=0, constant_liar=True),
    }
    if sweep["method"] not in samplers:
        raise UserError("method", sweep["method"], ", ".join(samplers))
    return samplers[sweep["method"]]()


def pruner_of(sweep: Mapping[str, Any]) -> Any:
    """Optuna's pruner for W&B's ``early_terminate``."""
    stop = sweep.get("early_terminate")
    if not stop:
        return optuna.pruners.NopPruner()
    if stop.get("type") != "hyperband":
        raise UserError("early_terminate.type", stop.get("type"), "hyperband")
    first, factor = int(stop.get("min_iter", 1)), int(stop.get("eta", 3))
    return optuna.pruners.SuccessiveHalvingPruner(first, reduction_factor=factor)


def suggest(trial: Trial, name: str, rule: Mapping[str, Any]) -> Any:
    """A value for a parameter by W&B's rule; UserError for a distribution that is not known."""
    if "value" in rule:
        return rule["value"]
    if "values" in rule:
        return trial.suggest_categorical(name, rule["values"])
    low, high = rule["min"], rule["max"]
    whole = isinstance(low, int) and isinstance(high, int)
    kind = rule.get("distribution", "int_uniform" if whole else "uniform")
    if kind == "int_uniform":
        return trial.suggest_int(name, low, high)
    if kind in ("uniform", "log_uniform_values"):
        return trial.suggest_float(name, low, high, log=kind != "uniform")
    if kind == "q_uniform":
        return trial.suggest_float(name, low, high, step=rule.get("q", 1.0))
    accepted = "uniform, int_uniform, log_uniform_values, q_uniform, or values"
    raise UserError(f"{name}.distribution", kind, accepted)


def yaml_word(value: Any) -> str:
    """A value as an override's text."""
    return yaml.safe_dump(value, default_flow_style=True).split("\n")[0]


def start_server_sweep(path: Path, extra: Sequence[str]) -> int:
    """Register the sweep with W&B and run an agent on it; the agent's exit code."""
    import wandb

    if not wandb.api.api_key:
        accepted = "run 'wandb login' first, or LOCAL=1 for a sweep without a server"
        raise UserError("SWEEP", path, accepted, "needs a W&B API key")
    sweep = read_sweep(path)
    sweep["command"] = [*sweep["command"], *extra]
    project = sweep.pop("project", "emo-lightning")
    found = wandb.sweep(sweep, project=project)
    agent = [sys.executable, "-m", "wandb", "agent", "--project", project, found]
    return subprocess.run(agent).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Start the sweep of a file; exit code 2 on a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m emo_lightning.training.sweep")
    parser.add_argument("sweep", type=Path, metavar="SWEEP.yaml", help="W&B's sweep format")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for every trial")
    parser.add_argument("--local", action="store_true", help="with Optuna, without a server")
    parser.add_argument("--trials", type=int, metavar="N", help="number of local trials")
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="trials at once")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the local results")
    given = parser.parse_intermixed_args(argv)
    try:
        if not given.local:
            return start_server_sweep(given.sweep, given.overrides)
        folder = given.out or Path("runs/sweeps") / given.sweep.stem
        LocalSweep(given.sweep, folder, given.trials, given.overrides).run(max(given.parallel, 1))
    except UserError as error:
        print(f"emo: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
