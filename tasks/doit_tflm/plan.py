"""The stages of a model's build: what each reads, writes and calls."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from doit_tflm.actions import Stage
from doit_tflm.c_text import c_identifier, file_stem
from doit_tflm.config import ARCHIVE, FACETS, Config, model_of

__all__ = ["ONCE", "ONCE_LOG", "resolver_stage", "stage_names", "stages"]

ONCE, ONCE_LOG = "once.tflite", "once.log"
"""What is built beside the stages goes there, in the model's build directory."""

_OURS, _TENSORFLOW = "version:doit-tflm", "version:tensorflow"
_TFLM = "version:tflite-micro"
_FRAMEWORKS = (_TENSORFLOW, "version:keras", "version:tf-keras")

_WORK = {
    "spec": ("stages:specify", ("script", "directory", "samples_file", "source")),
    "sample": ("stages:sample", ("script", "directory")),
    "calibrate": ("stages:calibrate", ("script", "directory", "model", "archive_path", "converter")),
    "convert": ("stages:quantize", ("script", "directory", "converter")),
    "verify": ("check:verify", ("script", "directory")),
    "embed": ("deliver:embed", ("script", "directory", "model")),
    "archive": ("deliver:update_archive", ("script", "directory", "model", "archive_path")),
    "header": ("deliver:write_header", ("directory", "model", "header_dir")),
    "accuracy": ("evaluation:evaluate", ("script", "directory", "model", "archive_path", "converter")),
    "evaluate": ("evaluation:record", ("script", "directory", "archive_path")),
    "report": ("check:report", ("script", "directory", "model", "archive_path", "converter")),
    "train": ("train:train", ("script", "directory", "model", "archive_path", "asked")),
}
"""The stages by the names of doit's tasks: the function that does the work, and what it takes."""

_VERBS = {"convert": "quantize", "accuracy": "evaluate", "evaluate": "record"}
"""What the console calls a stage, where the task that does all up to and after it has that name."""


def stage_names() -> list[str]:
    """Return what the stages of a model are called in doit, in their order."""
    return list(_WORK)


def stages(spec: str, config: Config, name: str = "", asked: Mapping[str, Any] | None = None) -> list[Stage]:
    """Return the stages of a model's build, in order, and its training.

    Parameters
    ----------
    spec : str
        The specification script, relative to the project; or the archive, for the script in it.
    config : Config
        The project's settings.
    name : str, optional
        What to call build directory and archive, if not as the specification.
    asked : mapping, optional
        What training is asked for besides the specification: see `doit_tflm.train.train`.
    """
    model = name or model_of(spec)
    directory = f"{config.build_dir}/{model}"
    archive = f"{config.models_dir}/{model}{ARCHIVE}"
    # The first stage takes a script out of the archive: it is one of its outputs.
    script = source = spec
    if spec.endswith(ARCHIVE):
        script, source = f"{directory}/{model_of(spec)}.py", f"{spec}!{model_of(spec)}.py"
    epochs = (asked or {}).get("epochs", "as specified")
    names = (*FACETS, "toolchain", "measured", "accuracy", "sources")
    facets = {name: f"{directory}/{name}.json" for name in names}
    samples, calibrated, quantized, vectors, final = (
        f"{directory}/{name}"
        for name in ("samples.npz", "calibrated.tflite", "quantized.tflite", "golden.npz", f"{model}.tflite")
    )
    converter, header_dir = (f"value:{name}={getattr(config, name)}" for name in ("converter", "header_dir"))
    date = f"value:SOURCE_DATE_EPOCH={os.environ.get('SOURCE_DATE_EPOCH') or 'none'}"
    in_archive = f"{archive}!{model}.tflite"
    samples_file = config.samples.get(model_of(spec), "")
    rows: list[tuple[str, list[str], list[str]]] = [
        (
            "spec",
            [source, f"value:samples={samples_file or 'those of the specification'}", _TENSORFLOW],
            [*(facets[name] for name in FACETS), *([script] if script != source else [])],
        ),
        ("sample", [facets["calibration"], *([samples_file] if samples_file else [])], [samples]),
        ("calibrate", [facets["graph"], samples, *_FRAMEWORKS, converter], [calibrated]),
        ("convert", [facets["converter"], calibrated, _TENSORFLOW, converter], [quantized, facets["toolchain"]]),
        ("verify", [facets["verify"], quantized, calibrated, samples, _TFLM], [facets["measured"], vectors]),
        ("embed", [quantized, facets["parameters"], facets["limits"], facets["measured"], date], [final]),
        ("archive", [final, facets["measured"], facets["report"]], [in_archive, f"{in_archive}.summary.txt"]),
        (
            "header",
            [final, facets["header"], facets["toolchain"], facets["measured"], vectors, header_dir],
            [facets["sources"]],
        ),
        (
            "accuracy",
            [facets["evaluation"], facets["graph"], quantized, *_FRAMEWORKS, _TFLM, converter],
            [facets["accuracy"]],
        ),
        ("evaluate", [facets["accuracy"], facets["limits"], final], []),
        ("report", [facets["report"], facets["graph"], samples, calibrated, *_FRAMEWORKS, converter], []),
        ("train", [facets["training"], f"value:epochs={epochs}", *_FRAMEWORKS], []),
    ]
    arguments: dict[str, Any] = {
        "script": script,
        "source": source,
        "directory": directory,
        "model": model,
        "archive_path": archive,
        "header_dir": config.header_dir,
        "converter": config.converter,
        "asked": dict(asked or {}),
        "samples_file": samples_file,
    }
    return [_stage(*row, arguments) for row in rows]


def _stage(task: str, inputs: list[str], outputs: list[str], arguments: dict[str, Any]) -> Stage:
    """Return one stage; `arguments` are those of all stages, of which it takes its own."""
    model, directory = arguments["model"], arguments["directory"]
    verb = _VERBS.get(task, task)
    call, taken = _WORK[task]
    expected: tuple[str, ...] = ()
    if task == "header":
        stem = f"{arguments['header_dir']}/{file_stem(model)}"
        expected = (f"{stem}.h", f"{stem}.c")
    return Stage(
        task=f"{task}:{model}",
        model=model,
        verb=verb,
        inputs=(*inputs, _OURS),
        outputs=tuple(outputs),
        call=f"doit_tflm.{call}",
        arguments={name: arguments[name] for name in taken},
        log=f"{directory}/{verb}.log",
        facets=tuple(path for path in inputs if path.endswith(".json")),
        expected=expected,
        # It waits for what the specification asks for, and doit 0.37 would wait for ever for a task that it is to
        # wait for in two ways.
        unlisted=tuple(f"{directory}/{name}.json" for name in FACETS) if task == "embed" else (),
    )


def resolver_stage(program: str, models: list[str], config: Config) -> Stage:
    """Return the stage that writes the op resolver of a program."""
    files = {model: f"{config.build_dir}/{model}/{model}.tflite" for model in sorted(set(models))}
    path = f"{config.header_dir}/{c_identifier(program)}_op_resolver.h"
    return Stage(
        task=f"resolver:{program}",
        model=program,
        verb="resolver",
        inputs=(
            *files.values(),
            f"value:models={' '.join(files)}",
            f"value:header_dir={config.header_dir}",
            _OURS,
        ),
        outputs=(path,),
        call="doit_tflm.deliver:write_resolver",
        arguments={"program": program, "models": files, "path": path},
        log=f"{config.build_dir}/programs/{program}.log",
    )
